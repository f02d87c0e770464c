"""Settings of a server."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from unirouter_torch.config.checks import at_least
from unirouter_torch.config.choice import BackendOptions, WeightedChoiceOptions
from unirouter_torch.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ServerSettings(WeightedChoiceOptions, BackendOptions):
    """How a router is served; a request may say otherwise how an LLM is chosen."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8080
    """Port to listen on, from 0 to 65535; 0 for any that is free."""
    workers: int = 1
    """Server processes that share the address, at least 1; each loads the router."""
    upstreams: Path | None = None
    """YAML file with the ``base_url`` of each LLM; without it the server only routes."""
    fallbacks: int = 2
    """How many of the next best LLMs are asked when one fails, at least 0."""
    api_key_env: str | None = None
    """Environment variable with the key that clients have to send; they need none when not given."""
    allow_changes: str | None = None
    """Environment variable with the key for changes of pool and router over HTTP; there are none when not given."""
    shadow: Path | None = None
    """Folder of a second router: it routes every prompt too, and both are counted; it has no part in the answers."""
    canary: Path | None = None
    """Folder of a second router: it decides for a share of the requests."""
    share: float = 0.05
    """Share of the requests that the canary decides for, above 0 and below 1."""
    accept_feedback: bool = False
    """Let clients add outcomes to the pool in the router's folder (``POST /v1/feedback``)."""
    embeddings: bool = False
    """Let clients have embeddings by the router's encoder (``POST /v1/embeddings``)."""
    log_to: Path | None = None
    """Folder for a log of prompts, choices and feedback, which ``unirouter train`` reads; none when not given."""
    redact: str | None = None
    """What becomes of a prompt before it is logged: ``hash``, or a function as ``package.module:function``."""
    cors_origin: list[str] = field(default_factory=list)
    """Let pages of these origins ask from a browser, such as https://app.example, or * for all."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.port < 2**16:
            raise ConfigError(f"port: got {self.port}, expected a port from 0 to 65535.")
        at_least("fallbacks", self.fallbacks, 0)
        at_least("workers", self.workers, 1)
        if self.redact is not None and self.log_to is None:
            raise ConfigError("redact: expected only with log_to, as nothing is logged without it. Give log_to.")
        if not 0 < self.share < 1:
            raise ConfigError(f"share: got {self.share}, expected a share above 0 and below 1.")
        if self.shadow is not None and self.canary is not None:
            raise ConfigError("shadow, canary: got both, expected one. Leave one out.")
        for origin in self.cors_origin:
            if origin != "*" and not re.fullmatch(r"https?://[^/?#@\s]+", origin):
                raise ConfigError(f"cors_origin: got {origin!r}, expected an origin as https://app.example, or *.")
