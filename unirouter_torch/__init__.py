"""Train a router over a pool of LLMs, add new LLMs without retraining, and ship it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unirouter_torch.router.router import Router as Router

__version__ = "0.1.0"
__all__ = ["Router", "__version__"]


def __getattr__(name: str) -> Any:
    # torch and transformers load with the first use of Router, so that `import unirouter_torch` stays light
    if name == "Router":
        from unirouter_torch.router.router import Router

        return Router
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
