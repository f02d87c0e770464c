"""``unirouter export``: a saved router in a format that runs without this package."""

import argparse
from pathlib import Path

from unirouter_torch.cli.llm_costs import declare_latency_weight
from unirouter_torch.cli.output import Commands, plain_console, print_places


def add_export(commands: Commands) -> None:
    """Declare ``unirouter export``."""
    parser = commands.add_parser("export", help="write a saved router as ONNX, torch.export or sentence-transformers")
    parser.add_argument("--router", required=True, metavar="DIR", help="folder of a saved router")
    parser.add_argument(
        "--format",
        required=True,
        choices=("onnx", "torch", "sentence-transformers"),
        help="onnx and torch: the whole router; sentence-transformers: its encoder alone",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--int8", action="store_true", help="round the encoder's weights to 8 bits (onnx)")
    declare_latency_weight(parser)
    parser.set_defaults(run=export)


def export(options: argparse.Namespace, _: list[str]) -> None:
    """Export a router and say how it compares with the original."""
    from unirouter_torch.export.router_export import export_router
    from unirouter_torch.router.router import Router

    folder = Path(options.output)
    router = Router.from_pretrained(options.router)
    written = export_router(router, options.format, folder, int8=options.int8, latency_weight=options.latency_weight)
    found = written.comparison
    console = plain_console()
    console.print(
        f"{written.num_bytes / 1e6:.1f} MB; on {found.num_prompts} calibration prompts the estimated errors differ by "
        f"{found.largest_difference:.1e} at most, and {found.changed_choices:.1%} of the choices are other ones",
        soft_wrap=True,
    )
    if written.left_out:
        console.print(f"without disabled LLMs: {', '.join(written.left_out)}", soft_wrap=True)
    print_places(console, {"export": folder})
