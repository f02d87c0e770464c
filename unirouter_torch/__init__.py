"""Train a router over a pool of LLMs, add new LLMs without retraining, and ship it."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unirouter_torch.config.training import TrainConfig as TrainConfig
    from unirouter_torch.data.load import load_table as load_table
    from unirouter_torch.data.outcomes.read import read_outcomes as read_outcomes
    from unirouter_torch.data.table import RoutingTable as RoutingTable
    from unirouter_torch.experiments.run import run as train
    from unirouter_torch.experiments.trials import run_trials as evaluate
    from unirouter_torch.methods.method import RoutingMethod as RoutingMethod
    from unirouter_torch.methods.trial import Trial as Trial
    from unirouter_torch.metrics.deferral import DeferralCurve as DeferralCurve
    from unirouter_torch.metrics.deferral import area_under_deferral_curve as area_under_deferral_curve
    from unirouter_torch.metrics.deferral import deferral_curve as deferral_curve
    from unirouter_torch.metrics.deferral import peak_accuracy as peak_accuracy
    from unirouter_torch.metrics.deferral import quality_neutral_cost as quality_neutral_cost
    from unirouter_torch.router.calibration import TokenPrices as TokenPrices
    from unirouter_torch.router.route import Route as Route
    from unirouter_torch.router.router import Router as Router
    from unirouter_torch.routing.pool import LLMPool as LLMPool
    from unirouter_torch.routing.pooled_llm import PooledLLM as PooledLLM
    from unirouter_torch.routing.target import Target as Target

__version__ = "0.1.0"

__all__ = [
    "DeferralCurve",
    "LLMPool",
    "PooledLLM",
    "Route",
    "Router",
    "RoutingMethod",
    "RoutingTable",
    "Target",
    "TokenPrices",
    "TrainConfig",
    "Trial",
    "__version__",
    "area_under_deferral_curve",
    "deferral_curve",
    "evaluate",
    "load_table",
    "peak_accuracy",
    "quality_neutral_cost",
    "read_outcomes",
    "train",
]

# where a name is loaded from at its first use, so that `import unirouter_torch` stays light; a test compares this with
# the imports above, which editors and mypy read
_HOMES = {
    "DeferralCurve": "metrics.deferral:DeferralCurve",
    "LLMPool": "routing.pool:LLMPool",
    "PooledLLM": "routing.pooled_llm:PooledLLM",
    "Route": "router.route:Route",
    "Router": "router.router:Router",
    "RoutingMethod": "methods.method:RoutingMethod",
    "RoutingTable": "data.table:RoutingTable",
    "Target": "routing.target:Target",
    "TokenPrices": "router.calibration:TokenPrices",
    "TrainConfig": "config.training:TrainConfig",
    "Trial": "methods.trial:Trial",
    "area_under_deferral_curve": "metrics.deferral:area_under_deferral_curve",
    "deferral_curve": "metrics.deferral:deferral_curve",
    "evaluate": "experiments.trials:run_trials",
    "load_table": "data.load:load_table",
    "peak_accuracy": "metrics.deferral:peak_accuracy",
    "quality_neutral_cost": "metrics.deferral:quality_neutral_cost",
    "read_outcomes": "data.outcomes.read:read_outcomes",
    "train": "experiments.run:run",
}
_TRAIN_EXTRA = {"RoutingMethod", "RoutingTable", "Trial", "evaluate", "load_table", "read_outcomes", "train"}
"""What the plain installation lacks the packages for; ``dir`` and ``help`` leave it out there."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    missing = _TRAIN_EXTRA if find_spec("lightning") is None else set()
    return sorted({*globals(), *__all__} - missing)
