"""A router as an ONNX file."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from unirouter_torch.encoder.onnx_runtime import open_session, round_weights, write_onnx_program
from unirouter_torch.export.check import Run
from unirouter_torch.export.graph import INPUTS, OUTPUTS, RoutingGraph, inputs_of, shapes_of, trace

ONNX_FILE = "router.onnx"


def write_onnx(folder: Path, graph: RoutingGraph, *, int8: bool) -> None:
    """Write ``router.onnx``, with ``router.onnx.data`` beside it where the weights are above 2 GB.

    Args:
        folder: Where to.
        graph: The router.
        int8: Whether the weights of the encoder are 8-bit integers and its activations are rounded to such at run time.
            Head, cluster errors and costs stay in float32.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        written = Path(place if int8 else folder) / ONNX_FILE
        nodes = write_onnx_program(
            written,
            trace(graph),
            inputs=list(inputs_of(graph.encoder)),
            outputs=list(OUTPUTS),
            dynamic_shapes=shapes_of(graph),
        )
        if int8:
            of_encoder = [node.name for node in nodes if _is_in_encoder(node)]
            round_weights(written, folder / ONNX_FILE, nodes=of_encoder, operators=("MatMul", "Gather"))


def open_onnx(folder: Path) -> Run:
    """What :func:`write_onnx` wrote, run by ONNX Runtime on the CPU."""
    session = open_session(folder / ONNX_FILE)

    def run(*inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        feed = {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=False)}
        estimated, choice = session.run(list(OUTPUTS), feed)
        return torch.from_numpy(estimated), torch.from_numpy(choice)

    return run


def _is_in_encoder(node: Any) -> bool:
    return "'encoder'" in node.metadata_props.get("pkg.torch.onnx.name_scopes", "")
