"""``unirouter serve``: a saved router over HTTP."""

import logging
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unirouter_torch.cli.options import SavedRouter
from unirouter_torch.cli.output import needing_extra, plain_console
from unirouter_torch.errors import TerminatedError
from unirouter_torch.serving.settings import ServerSettings

if TYPE_CHECKING:
    from unirouter_torch.serving.live_router import LiveRouter


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Options of ``unirouter serve``."""

    router: SavedRouter
    """Folder of a saved router."""
    settings: ServerSettings
    """How it is served."""


def serve(options: ServeOptions) -> None:
    """Choose LLMs, and chat with the chosen one, over HTTP, until a signal ends it."""
    with needing_extra("serve", "serve"):
        from unirouter_torch.serving.promotion import open_router
        from unirouter_torch.serving.server import GRACE_SECONDS
        from unirouter_torch.serving.server import serve as run_server
        from unirouter_torch.serving.workers import serve_by_workers
    import torch

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("unirouter_torch").setLevel(logging.INFO)
    ended = f"running requests had up to {GRACE_SECONDS} seconds to be answered"
    # a shell ignores SIGINT in what it starts in the background; uvicorn ends by it all the same, but with 0
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if options.settings.workers > 1:
            serve_by_workers(options.router, options.settings, _tell)
            return
        router, place = open_router(options.router, options.settings.backend)
        run_server(router.to("cuda") if torch.cuda.is_available() else router, options.settings, _tell, place)
    except TerminatedError:
        raise TerminatedError(f"asked to end (SIGTERM); {ended}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {ended}") from None


def _tell(address: str, live: "LiveRouter") -> None:
    pool = live.router.pool
    chat = f"chat with {len(live.reachable)} of them" if live.upstreams else "no chat: no --upstreams"
    equal = live.router.equal_choices
    faithful = "" if equal is None else f"; {live.router.encoder.backend} chooses as torch does for {equal:.1%}"
    plain_console(soft_wrap=True).print(f"serving {len(pool.names)} LLMs at {address}; {chat}{faithful}")
