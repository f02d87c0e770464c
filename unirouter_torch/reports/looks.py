"""Colours and lines that methods have in every figure."""

from collections.abc import Iterable
from typing import Any

from unirouter_torch.methods.end_to_end import EndToEnd
from unirouter_torch.methods.oracle import Oracle

ORACLE = Oracle.name

# Okabe and Ito's palette, distinguishable by colour-blind readers; line styles of another period give 30 combinations
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_STYLES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
HIGHLIGHTED = EndToEnd.name
"""Method that is drawn in the first colour, as a solid line."""

LOG_SPAN = 20.0
"""Costs that span more than this factor are drawn on a logarithmic axis."""


def method_looks(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, line style and width of each method, as matplotlib takes them; the oracle is thin and black."""
    routers = sorted((name for name in methods if name != ORACLE), key=lambda name: name != HIGHLIGHTED)
    looks: dict[str, dict[str, Any]] = {
        name: {"color": COLOURS[index % len(COLOURS)], "linestyle": LINE_STYLES[index % len(LINE_STYLES)], "lw": 1.8}
        for index, name in enumerate(routers)
    }
    return looks | {ORACLE: {"color": "black", "linestyle": (0, (4, 3)), "lw": 0.8}}
