"""``unirouter tune``: from a target to the cost weight that meets it."""

import json
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from unirouter_torch.cli.options import SavedRouter, Shown
from unirouter_torch.cli.output import plain_console
from unirouter_torch.config.choice import ChoiceOptions
from unirouter_torch.errors import ConfigError, PoolError

if TYPE_CHECKING:
    from unirouter_torch.routing.target import Target, TargetKind


SAME_QUALITY = 5e-4
"""Difference in quality below which two are called equal."""


@dataclass(frozen=True, kw_only=True)
class TuneOptions(ChoiceOptions):
    """Options of ``unirouter tune``; one of the three targets is given."""

    router: SavedRouter
    """Folder of a saved router."""
    target_cost: float | None = None
    """Target: mean cost of a prompt, in the pool's unit."""
    target_quality: float | None = None
    """Target: mean quality, in [0, 1]."""
    target_saving: float | None = None
    """Target: share of the cost of the best single LLM that is saved, in [0, 1)."""
    outcomes: Annotated[str | None, Shown(metavar="DATA")] = None
    """Outcomes on other prompts, in the forms of a table: what the cost weight gives there."""
    save: bool = False
    """Keep the target in the router: it is met where no cost weight is asked for, also when LLMs come and go."""
    json: bool = False
    """Print JSON."""

    def __post_init__(self) -> None:
        """Check that there is one target."""
        if sum(value is not None for value in self._targets.values()) != 1:
            raise ConfigError("target_cost, target_quality, target_saving: expected one of them. Give one.")
        if self.save and not (self.caution is None and self.llms is None):
            raise ConfigError("save: a target is kept for all LLMs without caution. Leave out caution and llms.")

    def target(self, latency_weight: float) -> "Target":
        """The target that was given, for costs that contain the latency with this weight."""
        from unirouter_torch.routing.target import Target

        return next(
            Target(kind=kind, value=value, latency_weight=latency_weight)
            for kind, value in self._targets.items()
            if value is not None
        )

    @property
    def _targets(self) -> "dict[TargetKind, float | None]":
        return {"cost": self.target_cost, "quality": self.target_quality, "saving": self.target_saving}


def tune(options: TuneOptions) -> None:
    """Find the cost weight for a cost, a quality or a saving."""
    from unirouter_torch.experiments.expected_saving import expected_saving
    from unirouter_torch.router.router import Router

    router = Router.from_pretrained(options.router)
    kept = router.pool.latency_weight
    target = options.target(kept if options.latency_weight is None else options.latency_weight)
    chooser = router.chooser(0.0, **options.choice)
    found = chooser.tune(router.calibration, target)
    if not found.is_reached:
        raise PoolError(
            f"target {target.kind} {target.value:g}: out of reach; the nearest is a cost of {found.cost:.4g} "
            f"{router.pool.cost_unit} at a quality of {found.quality:.4f}. Choose another target, or add an LLM."
        )
    facts: dict[str, Any] = {
        "cost_weight": found.cost_weight,
        "expected": {"prompts": len(router.calibration.texts), "cost": found.cost, "quality": found.quality},
    }
    if saving := expected_saving(chooser, router.calibration, found):
        facts["saving"] = saving._asdict()
    if options.outcomes:
        from unirouter_torch.data.load import load_table
        from unirouter_torch.experiments.held_out import judge_on_table

        table = load_table(options.outcomes, conversation=router.conversation)
        facts["held_out"] = judge_on_table(router, table, found.cost_weight, **options.choice)._asdict()
    if options.save:

        def keep() -> None:
            router.pool = replace(router.pool, target=target)

        router.change_pool(keep, f"tune to a {target.kind} of {target.value:g}")
        assert router.saved is not None
        revision = router.saved.revision
        facts["revision"] = {"number": revision.number, "what": revision.change.what}
    _print(options, facts, router.pool.cost_unit)


def _print(options: TuneOptions, facts: dict[str, Any], cost_unit: str) -> None:
    if options.json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return
    console = plain_console(soft_wrap=True)
    console.print(f"cost weight {facts['cost_weight']:.6g}")
    expected = facts["expected"]
    console.print(
        f"expected over {expected['prompts']} calibration prompts: cost {expected['cost']:.4g} "
        f"{cost_unit}, quality {expected['quality']:.4f}"
    )
    if "saving" in facts:
        for line in _saving_lines(facts["saving"], expected["quality"]):
            console.print(line)
    if "held_out" in facts:
        held_out = facts["held_out"]
        console.print(
            f"over {held_out['num_prompts']} prompts of {options.outcomes}: expected cost "
            f"{held_out['expected_cost']:.4g}, quality {held_out['expected_quality']:.4f}; realised "
            + ("" if held_out["cost"] is None else "cost {:.4g} [{:.4g}, {:.4g}], ".format(*_ends(held_out, "cost")))
            + "quality {:.4f} [{:.4f}, {:.4f}] (95% intervals)".format(*_ends(held_out, "quality"))
        )
    if "revision" in facts:
        console.print("revision {number}: {what}".format(**facts["revision"]))


def _ends(facts: dict[str, Any], name: str) -> tuple[float, float, float]:
    """A mean and the ends of its interval."""
    return facts[name], *facts[f"{name}_interval"]


def _saving_lines(saving: dict[str, Any], quality: float) -> list[str]:
    """What the cost weight saves against the best single LLM and a constant mix, and what others would."""
    costs, qualities = saving["cost_at"], saving["quality_at"]
    better = quality - saving["constant_quality"]
    verdict = "does as well" if better < SAME_QUALITY else f"has {better:.4f} less"
    return [
        f"that is {_percent(saving['cost_share'])} of the cost of the best single LLM, {saving['best_llm']}, at "
        f"{_percent(saving['quality_share'])} of its quality; at the same cost a constant mix of LLMs {verdict}",
        f"{' / '.join(map(str, costs))}% of its quality for {' / '.join(map(_percent, costs.values()))} of its cost",
        f"{' / '.join(map(str, qualities))}% of the highest cost for a quality of "
        + " / ".join("not reached" if value is None else f"{value:.4f}" for value in qualities.values()),
    ]


def _percent(share: float | None) -> str:
    return "not reached" if share is None else f"{share:.0%}"
