"""``unirouter tune``: from a target to the cost weight that meets it."""

import argparse
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unirouter_torch.cli.output import Commands, plain_console
from unirouter_torch.errors import PoolError

if TYPE_CHECKING:
    from unirouter_torch.routing.target import Target, TargetKind


def add_tune(commands: Commands) -> None:
    """Declare ``unirouter tune``."""
    parser = commands.add_parser("tune", help="find the cost weight for a cost, a quality or a saving")
    parser.add_argument("--router", required=True, metavar="DIR", help="folder of a saved router")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--target-cost", type=float, metavar="C", help="mean cost of a prompt, in the pool's unit")
    target.add_argument("--target-quality", type=float, metavar="Q", help="mean quality, in [0, 1]")
    saving = "share of the cost of the best single LLM that is saved, in [0, 1)"
    target.add_argument("--target-saving", type=float, metavar="F", help=saving)
    outcomes = "outcomes on other prompts, as unirouter adopt reads them: what the cost weight gives there"
    parser.add_argument("--outcomes", metavar="DATA", help=outcomes)
    weight = "what a second costs, in the unit of the pool: costs then contain the latency (default: 0)"
    parser.add_argument("--latency-weight", type=float, default=0.0, metavar="W", help=weight)
    save = "keep the target in the router: it is met where no cost weight is asked for, also when LLMs come and go"
    parser.add_argument("--save", action="store_true", help=save)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=tune)


def tune(options: argparse.Namespace, _: list[str]) -> None:
    """Find a cost weight, say what it gives, and keep the target if asked to."""
    from unirouter_torch.router.chooser import Chooser
    from unirouter_torch.router.router import Router

    target, router = _target(options), Router.from_pretrained(options.router)
    chooser = Chooser.of(
        router.head, router.calibration, router.pool, cost_weight=0.0, latency_weight=target.latency_weight
    )
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
    if options.outcomes:
        from unirouter_torch.data.load import load_table
        from unirouter_torch.experiments.held_out import judge_on_table

        table = load_table(options.outcomes)
        facts["held_out"] = judge_on_table(
            router, table, found.cost_weight, latency_weight=target.latency_weight
        )._asdict()
    if options.save:

        def keep() -> None:
            router.pool = replace(router.pool, target=target)

        router.change_pool(keep, f"tune to a {target.kind} of {target.value:g}")
        assert router.saved is not None
        revision = router.saved.revision
        facts["revision"] = {"number": revision.number, "what": revision.change.what}
    _print(options, facts, router.pool.cost_unit)


def _target(options: argparse.Namespace) -> "Target":
    from unirouter_torch.routing.target import Target

    given: dict[TargetKind, float | None] = {
        "cost": options.target_cost,
        "quality": options.target_quality,
        "saving": options.target_saving,
    }
    return next(
        Target(kind=kind, value=value, latency_weight=options.latency_weight)
        for kind, value in given.items()
        if value is not None
    )


def _print(options: argparse.Namespace, facts: dict[str, Any], cost_unit: str) -> None:
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
    if "held_out" in facts:
        held_out = facts["held_out"]
        console.print(
            f"over {held_out['num_prompts']} prompts of {options.outcomes}: expected cost "
            f"{held_out['expected_cost']:.4g}, quality {held_out['expected_quality']:.4f}; realised "
            + (f"cost {held_out['cost']:.4g}, " if held_out["cost"] is not None else "")
            + f"quality {held_out['quality']:.4f}"
        )
    if "revision" in facts:
        console.print("revision {number}: {what}".format(**facts["revision"]))
