"""What writing and running ONNX files takes, for encoders here and for whole routers in ``export``."""

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from unirouter_torch.errors import ConfigError

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

_SLOWER = ["SkipLayerNormFusion"]
"""What ONNX Runtime is not to fuse: on CPUs that kernel takes three times as long as the sum and the normalisation."""


def require_onnx(setting: str) -> None:
    """Refuse to begin without the packages.

    Args:
        setting: What asks for them, as ``format: got onnx``.

    Raises:
        ConfigError: One is not installed.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"{setting}, which needs {', '.join(missing)}. Run `pip install 'unirouter_torch[onnx]'`.")


def write_onnx_program(
    path: Path, program: torch.export.ExportedProgram, *, inputs: list[str], outputs: list[str], dynamic_shapes: Any
) -> Any:
    """Write a program as an ONNX file, with ``NAME.data`` beside it where the weights are above 2 GB.

    Args:
        path: The file.
        program: What to write.
        inputs: Names of its inputs, in order.
        outputs: Names of its outputs, in order.
        dynamic_shapes: Which axes of the inputs vary, as ``torch.export`` takes it.

    Returns:
        The nodes that were written, each with a ``name`` and ``metadata_props``.
    """
    with _quiet():
        written: Any = torch.onnx.export(
            program,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic_shapes,
            dynamo=True,
            verbose=False,
        )
        written.save(path)
    return written.model.graph


def round_weights(
    source: Path, target: Path, *, nodes: list[str] | None = None, operators: tuple[str, ...] = ("MatMul",)
) -> None:
    """Write an ONNX file again with 8-bit weights, one scale a column, and activations rounded to such at run time.

    Args:
        source: The file in float32.
        target: Where to write, in another folder.
        nodes: Names of the nodes whose weights are rounded; all when not given.
        operators: Kinds of those nodes.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=list(operators),
            nodes_to_quantize=nodes,
            weight_type=QuantType.QInt8,
            per_channel=True,
            use_external_data_format=source.with_name(f"{source.name}.data").exists(),
        )


def open_session(path: Path) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER)


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
