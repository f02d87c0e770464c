"""HTTP clients for calls of upstreams: each call has one for itself, and its connection is used again."""

from collections import OrderedDict

import httpx2

from unirouter_torch.errors import ConfigError

MOST_FREE = 100
"""Clients that are kept while no call uses them, each with one open connection."""


class HttpClients:
    """Lends clients, through the proxies and with the certificates that the environment names.

    The pool of one client for all would look at each of its connections when a call begins and when it ends: with 64 at
    a time that was a third of what the server did.

    Raises:
        ConfigError: The environment names a proxy or certificates that cannot be used.
    """

    def __init__(self) -> None:
        self._free: OrderedDict[str, list[httpx2.AsyncClient]] = OrderedDict()
        self._num_free = 0
        try:
            self._certificates = httpx2.create_ssl_context()
            self._new()
        except (httpx2.InvalidURL, ValueError, OSError, ImportError) as error:
            raise ConfigError(
                f"upstreams: the environment names a proxy or certificates that cannot be used ({error}). Check "
                "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR."
            ) from None

    def take(self, address: str) -> httpx2.AsyncClient:
        """A client for one call of an address: the one that was there last, or a new one."""
        free = self._free.get(address)
        if not free:
            return self._new()
        client = free.pop()
        self._num_free -= 1
        if not free:
            del self._free[address]
        return client

    async def give_back(self, address: str, client: httpx2.AsyncClient) -> None:
        """Take back a client whose call is over; of too many, one of the least recent address is closed."""
        self._free.setdefault(address, []).append(client)
        self._free.move_to_end(address)
        self._num_free += 1
        if self._num_free > MOST_FREE:
            await self.take(next(iter(self._free))).aclose()

    async def close(self) -> None:
        """Close all that are free."""
        while self._free:
            await self.take(next(iter(self._free))).aclose()

    def _new(self) -> httpx2.AsyncClient:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=1)
        return httpx2.AsyncClient(verify=self._certificates, limits=limits, follow_redirects=False)
