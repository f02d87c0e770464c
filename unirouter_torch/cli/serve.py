"""``unirouter serve``: a saved router over HTTP."""

import argparse
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from unirouter_torch.cli.llm_costs import declare_latency_weight
from unirouter_torch.cli.output import Commands, plain_console
from unirouter_torch.errors import ConfigError, TerminatedError

if TYPE_CHECKING:
    from unirouter_torch.serving.live_router import LiveRouter


def add_serve(commands: Commands) -> None:
    """Declare ``unirouter serve``."""
    parser = commands.add_parser("serve", help="choose LLMs, and chat with the chosen one, over HTTP")
    parser.add_argument("--router", required=True, metavar="DIR", help="folder of a saved router")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="listen here (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, metavar="N", help="0 for a free one (default: %(default)s)")
    parser.add_argument(
        "--cost-weight",
        type=float,
        metavar="W",
        help="error accepted to save the reference cost of the router, where a request does not say (default: that of "
        "the target that unirouter tune --save keeps, else 0.1)",
    )
    declare_latency_weight(parser)
    parser.add_argument(
        "--upstreams", metavar="FILE", help="YAML: the base_url of each LLM; without it the server only routes"
    )
    parser.add_argument(
        "--fallbacks",
        type=int,
        default=2,
        metavar="N",
        help="how many of the next best LLMs are asked when one fails (default: %(default)s)",
    )
    parser.add_argument(
        "--api-key-env", metavar="NAME", help="environment variable with the key that clients have to send"
    )
    parser.add_argument(
        "--accept-feedback",
        action="store_true",
        help="let clients add outcomes to the pool in the router's folder (POST /v1/feedback)",
    )
    parser.add_argument(
        "--cors-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of this origin ask from a browser, as https://app.example, or * for all; may be repeated",
    )
    parser.set_defaults(run=serve)


def serve(options: argparse.Namespace, _: list[str]) -> None:
    """Serve a router until a signal ends it."""
    try:
        from unirouter_torch.serving.server import GRACE_SECONDS, ServerSettings
        from unirouter_torch.serving.server import serve as run_server
        from unirouter_torch.serving.upstreams import key_in
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("unirouter_torch"):
            raise
        raise ConfigError(
            f"serve: {error.name} is not installed. Run `pip install 'unirouter_torch[serve]'`."
        ) from None
    import torch

    from unirouter_torch.router.router import Router

    settings = ServerSettings(
        host=options.host,
        port=options.port,
        cost_weight=options.cost_weight,
        latency_weight=options.latency_weight,
        upstream_file=Path(options.upstreams) if options.upstreams else None,
        fallbacks=options.fallbacks,
        api_key=key_in(options.api_key_env, "--api-key-env") if options.api_key_env else "",
        accept_feedback=options.accept_feedback,
        cors_origins=tuple(options.cors_origin),
    )
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("unirouter_torch").setLevel(logging.INFO)
    router = Router.from_pretrained(options.router)
    if torch.cuda.is_available():
        router = router.to("cuda")
    ended = f"running requests had up to {GRACE_SECONDS} seconds to be answered"
    # a shell ignores SIGINT in what it starts in the background; uvicorn ends by it all the same, but with 0
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run_server(router, settings, _tell)
    except TerminatedError:
        raise TerminatedError(f"asked to end (SIGTERM); {ended}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {ended}") from None


def _tell(address: str, live: "LiveRouter") -> None:
    pool = live.router.pool
    chat = f"chat with {len(live.reachable)} of them" if live.upstreams else "no chat: no --upstreams"
    plain_console(soft_wrap=True).print(f"serving {len(pool.names)} LLMs at {address}; {chat}")
