"""How methods are called in a table of several."""

from unirouter_torch.methods.registry import display_name, knows_more


def label_of(method: str) -> str:
    """How a method is called among others; a triangle marks one that sees what no router can."""
    return display_name(method) + ("\u00a0▲" if knows_more(method) else "")
