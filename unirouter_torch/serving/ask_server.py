"""What a command asks of a server that runs."""

from typing import Any

import httpx2

from unirouter_torch.errors import ConfigError
from unirouter_torch.serving.promotion import RouterRequest

_SECONDS = 600.0
"""How long a server may take to load a router."""


def ask_for_promotion(server: str, key: str, asked: RouterRequest) -> dict[str, Any]:
    """Bring another router into service.

    Args:
        server: Address of the server, for example ``http://127.0.0.1:8080``.
        key: That of its ``--allow-changes``.
        asked: Which router.

    Returns:
        What is in service now, as ``GET /v1/router`` tells it.

    Raises:
        ConfigError: The server cannot be reached, or refuses.
    """
    address = f"{server.rstrip('/')}/v1/router"
    headers = {"authorization": f"Bearer {key}"}
    try:
        response = httpx2.post(address, json=asked.model_dump(), headers=headers, timeout=_SECONDS)
        found: dict[str, Any] = response.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise ConfigError(f"server: {address} gave no answer ({error}). Give the address that serve printed.") from None
    if response.status_code == 405:
        raise ConfigError(f"server: {server} takes no changes. Start it with --allow-changes.")
    if response.status_code != 200:
        error_of = found.get("error")
        said = error_of.get("message") if isinstance(error_of, dict) else found
        raise ConfigError(f"server: {server} refused ({said})")
    return found
