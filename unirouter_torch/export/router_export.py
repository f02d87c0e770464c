"""``unirouter export``: one folder that runs without this package."""

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Unpack, get_args

import torch

from unirouter_torch.config.choice import Choice
from unirouter_torch.encoder.onnx_runtime import require_onnx
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import ConfigError, PoolError
from unirouter_torch.export.check import EXACT, ROUNDED, Comparison, Run, compare
from unirouter_torch.export.graph import OUTPUTS, RoutingGraph, trace
from unirouter_torch.export.onnx_file import ONNX_FILE, open_onnx, write_onnx
from unirouter_torch.export.tokenizer_file import TOKENIZER_FILE, Tokenize, read_tokenizer, write_tokenizer
from unirouter_torch.router.chooser import Chooser
from unirouter_torch.router.router import Router
from unirouter_torch.storage import atomic_folder, write_json

ExportFormat = Literal["onnx", "torch", "sentence-transformers"]
"""What a router can be exported as."""

FORMAT_VERSION = 1
PROGRAM_FILE = "router.pt2"
SETTINGS_FILE = "export.json"

_BYTE_COUNT = "float32 [prompt 256], how often each byte occurs in the UTF-8 text of each prompt, without prefix"


@dataclass(frozen=True, kw_only=True)
class Export:
    """What was written.

    Attributes:
        comparison: The export beside its router.
        num_bytes: Size of all files.
        left_out: Names of LLMs that may not be chosen, which the export does not hold.
    """

    comparison: Comparison
    num_bytes: int
    left_out: tuple[str, ...]


def export_router(
    router: Router,
    export_format: ExportFormat,
    folder: Path,
    *,
    int8: bool = False,
    cost_weight: float | None = None,
    **choice: Unpack[Choice],
) -> Export:
    """Write a router in another format, after a check that it does the same.

    Args:
        router: On the CPU.
        export_format: ``"onnx"`` and ``"torch"``: the whole router as one graph, with its pool as it is now, without
            the LLMs that are disabled; ``"sentence-transformers"``: the encoder alone.
        folder: Where to write; an earlier export is replaced.
        int8: Whether the encoder's weights are rounded to 8 bits; ONNX alone.
        cost_weight: Written down for the programs that use it; as in :meth:`Router.chooser`.
        choice: As there. The costs that the graph holds contain the latency, its cluster errors are as cautious, and
            it holds no other LLMs.

    Returns:
        How the export compares with the router.

    Raises:
        ConfigError: The format is unknown, its packages are missing, or it has no int8.
        PoolError: The router has no LLM yet, or a latency counts that is not known.
        ArtifactError: The export does something else than the router, or the folder holds something else. Nothing is
            written.
    """
    _refuse_what_cannot_be(router, export_format, int8)
    chooser = router.chooser(cost_weight, **choice)
    left_out = [name for name in router.pool.names if name not in _names(chooser)]
    graph = RoutingGraph(router.encoder, router.head, chooser)
    with atomic_folder(folder, "export", FORMAT_VERSION) as target:
        tokenize, run = _write(target, graph, export_format, int8=int8)
        comparison = compare(router, chooser, tokenize, run)
        comparison.check(ROUNDED if int8 else EXACT)
        if export_format != "sentence-transformers":
            about = _settings(router, chooser, export_format, comparison, int8=int8)
            latency_weight = choice.get("latency_weight")
            weight = router.pool.latency_weight if latency_weight is None else latency_weight
            about |= {"left_out": sorted(left_out), "latency_weight": weight}
            write_json(target / SETTINGS_FILE, about)
        num_bytes = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    whole = export_format == "sentence-transformers"
    return Export(comparison=comparison, num_bytes=num_bytes, left_out=() if whole else tuple(sorted(left_out)))


def _names(chooser: Chooser) -> list[str]:
    """The LLMs that may be chosen, in the order of the graph's columns."""
    return [name for name, may in zip(chooser.pool.names, chooser.may_be_chosen.tolist(), strict=True) if may]


def _refuse_what_cannot_be(router: Router, export_format: str, int8: bool) -> None:
    if export_format not in get_args(ExportFormat):
        raise ConfigError(f"format: got {export_format!r}, expected one of {', '.join(get_args(ExportFormat))}.")
    if int8 and export_format != "onnx":
        raise ConfigError(f"int8: only onnx has 8-bit weights, got the format {export_format}. Leave int8 out.")
    if export_format == "onnx":
        require_onnx("format: got onnx")
    if router.encoder.backend != "torch":
        raise ConfigError(
            f"encoder.backend: a router on {router.encoder.backend} cannot be exported, as its encoder is a graph "
            "already. Load it without a backend."
        )
    recipe = router.encoder.recipe
    can_cut_in_front = export_format != "sentence-transformers" and not recipe.prefix
    if recipe.keep == "head_and_tail" or (recipe.keep == "tail" and not can_cut_in_front):
        raise ConfigError(
            f"encoder.keep: this router keeps the {recipe.keep} of long prompts, which no file of the format "
            f"{export_format} can say; expected head{', or tail in onnx and torch' if not recipe.prefix else ''}. "
            "Train it so to export it."
        )
    if not router.pool.names:
        raise PoolError(
            "export: this router has no LLM yet, so there is nothing to choose. Give it your LLMs first, by "
            "`unirouter adopt` or router.calibrate, and export what that saves."
        )


def _write(folder: Path, graph: RoutingGraph, export_format: ExportFormat, *, int8: bool) -> tuple[Tokenize, Run]:
    """Write the format's own files; comes back with what reads and runs them."""
    if export_format == "sentence-transformers":
        graph.encoder.save_pretrained(folder)
        return _open_encoder(folder, graph)
    write_tokenizer(folder, graph.encoder)
    recipe = graph.encoder.recipe
    tokenize = read_tokenizer(folder, prefix=recipe.prefix, lower_case=recipe.lower_case)
    if export_format == "onnx":
        write_onnx(folder, graph, int8=int8)
        return tokenize, open_onnx(folder)
    content = io.BytesIO()
    torch.export.save(trace(graph), content)  # torch itself aborts the process on a full disk
    (folder / PROGRAM_FILE).write_bytes(content.getbuffer())
    return tokenize, torch.export.load(folder / PROGRAM_FILE).module()


def _open_encoder(folder: Path, graph: RoutingGraph) -> tuple[Tokenize, Run]:
    encoder = PromptEncoder.from_pretrained(str(folder))
    graph.encoder = encoder

    def tokenize(texts: Any) -> Any:
        return tuple(encoder.tokenize(texts).values())

    return tokenize, graph


def _settings(
    router: Router, chooser: Chooser, export_format: str, comparison: Comparison, *, int8: bool
) -> dict[str, Any]:
    """The content of ``export.json``: all that a program needs to use the graph."""
    pool, recipe = chooser.pool, router.encoder.recipe
    return {
        "format": export_format,
        "int8": int8,
        "use": [
            f"Write `prefix` before every prompt, in lower case if `lower_case` says so; {TOKENIZER_FILE}, read by the "
            "package tokenizers, makes tokens of it, cut and padded.",
            f"Run {ONNX_FILE if export_format == 'onnx' else PROGRAM_FILE} on the inputs.",
            "`choice` is a position in `llms`; equal sums of estimated error and weighted cost go to the cheaper LLM.",
        ],
        "inputs": {
            "input_ids": "int64 [prompt token], at least one token",
            "attention_mask": "int64 [prompt token], 1 for a token of the prompt, 0 for padding",
            "cost_weight": "float32 [prompt], error accepted to save one reference cost; 0 asks for quality alone",
            "num_characters": "int64 [prompt], length of each prompt in characters, without prefix; decides what it "
            "costs with LLMs that are paid by the token",
        }
        | ({} if router.encoder.form is None else {"byte_count": _BYTE_COUNT}),
        "outputs": OUTPUTS,
        "default_cost_weight": chooser.cost_weight,
        "prefix": recipe.prefix,
        "lower_case": recipe.lower_case,
        "max_length": router.encoder.max_length,
        "llms": _names(chooser),
        "cost": chooser.cost.typical[chooser.may_be_chosen].tolist(),
        "cost_unit": pool.cost_unit,
        "cost_is_estimate": pool.cost_is_estimate,
        "reference_cost": pool.reference_cost,
        "check": asdict(comparison),
    }
