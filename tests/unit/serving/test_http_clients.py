"""Clients for calls of upstreams: lent to one call at a time, used again, bounded."""

import asyncio

import pytest

from unirouter_torch.errors import ConfigError
from unirouter_torch.serving import http_clients
from unirouter_torch.serving.http_clients import HttpClients


def test_client_is_lent_to_one_call_at_a_time_and_used_again() -> None:
    async def lend() -> None:
        clients = HttpClients()
        first, second = clients.take("a"), clients.take("a")
        assert first is not second
        await clients.give_back("a", first)
        await clients.give_back("a", second)
        assert clients.take("b") not in (first, second)
        # the latest one, as its connection is the least likely to have been closed
        assert [clients.take("a"), clients.take("a")] == [second, first]
        await clients.close()

    asyncio.run(lend())


def test_what_is_kept_is_bounded_and_the_least_recent_address_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_clients, "MOST_FREE", 3)

    async def lend() -> None:
        clients = HttpClients()
        lent = [(address, clients.take(address)) for address in "aabcb"]
        for address, client in lent:
            await clients.give_back(address, client)
        assert [client.is_closed for _, client in lent] == [True, True, False, False, False]
        await clients.close()
        assert all(client.is_closed for _, client in lent)

    asyncio.run(lend())


def test_proxy_that_cannot_be_used_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "no-scheme-known://x")
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        HttpClients()
