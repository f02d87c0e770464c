"""A router as an ONNX file; the only home of onnx, onnxscript and onnxruntime."""

import contextlib
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from unirouter_torch.errors import ConfigError
from unirouter_torch.export.check import Run
from unirouter_torch.export.graph import INPUTS, OUTPUTS, RoutingGraph, inputs_of, shapes_of, trace

ONNX_FILE = "router.onnx"

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Refuse to begin without the packages.

    Raises:
        ConfigError: One is not installed.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"format: got onnx, which needs {', '.join(missing)}. Run `pip install 'unirouter_torch[onnx]'`."
        )


def write_onnx(folder: Path, graph: RoutingGraph, *, int8: bool) -> None:
    """Write ``router.onnx``, with ``router.onnx.data`` beside it where the weights are above 2 GB.

    Args:
        folder: Where to.
        graph: The router.
        int8: Whether the weights of the encoder are 8-bit integers and its activations are rounded to such at run time.
            Head, cluster errors and costs stay in float32.
    """
    with _quiet():
        program: Any = torch.onnx.export(
            trace(graph),
            input_names=list(inputs_of(graph.encoder)),
            output_names=list(OUTPUTS),
            dynamic_shapes=shapes_of(graph),
            dynamo=True,
            verbose=False,
        )
        if not int8:
            program.save(folder / ONNX_FILE)
            return
        of_encoder = [node.name for node in program.model.graph if _is_in_encoder(node)]
        with tempfile.TemporaryDirectory(dir=folder) as place:
            program.save(Path(place) / ONNX_FILE)
            _round_weights(Path(place) / ONNX_FILE, folder / ONNX_FILE, of_encoder)


def open_onnx(folder: Path) -> Run:
    """What :func:`write_onnx` wrote, run by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / ONNX_FILE, providers=["CPUExecutionProvider"])

    def run(*inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        feed = {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=False)}
        estimated, choice = session.run(list(OUTPUTS), feed)
        return torch.from_numpy(estimated), torch.from_numpy(choice)

    return run


def _is_in_encoder(node: Any) -> bool:
    return "'encoder'" in node.metadata_props.get("pkg.torch.onnx.name_scopes", "")


def _round_weights(source: Path, target: Path, nodes: list[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul", "Gather"],
        nodes_to_quantize=nodes,
        weight_type=QuantType.QInt8,
        per_channel=True,
        use_external_data_format=source.with_name(f"{source.name}.data").exists(),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice of exporter and quantiser, which a user cannot follow."""
    loggers = [logging.getLogger(name) for name in (None, "torch.onnx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
