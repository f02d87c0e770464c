"""``unirouter export``: a saved router in a format that runs without this package."""

from dataclasses import dataclass
from typing import Literal

from unirouter_torch.cli.options import Folder, SavedRouter
from unirouter_torch.cli.output import plain_console, print_places
from unirouter_torch.config.choice import WeightedChoiceOptions


@dataclass(frozen=True, kw_only=True)
class ExportOptions(WeightedChoiceOptions):
    """Options of ``unirouter export``."""

    router: SavedRouter
    """Folder of a saved router."""
    format: Literal["onnx", "torch", "sentence-transformers"]
    """What to write; onnx and torch hold the whole router, sentence-transformers its encoder alone."""
    output: Folder
    """Folder to write."""
    int8: bool = False
    """Round the encoder's weights to 8 bits (onnx)."""


def export(options: ExportOptions) -> None:
    """Write a saved router as ONNX, torch.export or sentence-transformers."""
    from unirouter_torch.export.router_export import export_router
    from unirouter_torch.router.router import Router

    router = Router.from_pretrained(options.router)
    written = export_router(
        router,
        options.format,
        options.output,
        int8=options.int8,
        cost_weight=options.cost_weight,
        **options.choice,
    )
    found = written.comparison
    console = plain_console()
    console.print(
        f"{written.num_bytes / 1e6:.1f} MB; on {found.num_prompts} calibration prompts the estimated errors differ by "
        f"{found.largest_difference:.1e} at most, and {found.changed_choices:.1%} of the choices are other ones",
        soft_wrap=True,
    )
    if written.left_out:
        console.print(f"without LLMs that may not be chosen: {', '.join(written.left_out)}", soft_wrap=True)
    print_places(console, {"export": options.output})
