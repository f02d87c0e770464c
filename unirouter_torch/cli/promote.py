"""``unirouter promote``: another router into service at a server that runs."""

from dataclasses import dataclass
from pathlib import Path

from unirouter_torch.cli.output import needing_extra, plain_console
from unirouter_torch.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PromoteOptions:
    """Options of ``unirouter promote``."""

    server: str = "http://127.0.0.1:8080"
    """Address of the server, which runs with ``--allow-changes``."""
    key_env: str
    """Environment variable with the key of its ``--allow-changes``."""
    router: Path | None = None
    """Folder of the router, on the machine of the server; the one on trial when not given."""
    back: bool = False
    """Go back to the router that was in service before."""

    def __post_init__(self) -> None:
        """Check that one thing is asked for."""
        if self.back and self.router is not None:
            raise ConfigError("back, router: got both, expected one. Leave one out.")


def promote(options: PromoteOptions) -> None:
    """Bring another router into service at a server, without a restart."""
    with needing_extra("serve", "promote"):
        from unirouter_torch.serving.ask_server import ask_for_promotion
        from unirouter_torch.serving.promotion import RouterRequest
        from unirouter_torch.serving.upstreams import key_in
    router = None if options.router is None else str(options.router.absolute())
    asked = RouterRequest(router=router, back=options.back)
    found = ask_for_promotion(options.server, key_in(options.key_env, "key_env"), asked)
    console = plain_console(soft_wrap=True)
    console.print(
        f"{found['router']} is in service, {found['before']} was before; `unirouter promote --back` returns to it"
    )
