"""What the page shows, as JSON: why a prompt goes where it goes, the pool, the curve, the traffic."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from unirouter_torch.metrics.deferral import DeferralCurve
from unirouter_torch.router.description import describe_pool
from unirouter_torch.router.explanation import explain
from unirouter_torch.router.profile import COST_WEIGHTS, LLMProfile, profile_llm
from unirouter_torch.routing.drift import DriftTest
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.serving.batching import Batcher
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.outlook import Outlook, Outlooks
from unirouter_torch.serving.refusals import RefusedError
from unirouter_torch.serving.relay import unless_gone
from unirouter_torch.serving.replies import ExplainedPrompt, Revision
from unirouter_torch.serving.requests import PromptBody
from unirouter_torch.shapes import ClusterProbability

MOST_EXPLAINED = 16
"""Prompts of one request."""

MOST_CHARACTERS = 100_000
"""Of all of them, as they are routed."""

_MOST_POINTS = 400


class ExplainRequest(BaseModel):
    """Prompts whose choice is to be explained; they are not counted as traffic."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompts: Annotated[list[PromptBody], Field(min_length=1, max_length=MOST_EXPLAINED)]
    cost_weight: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    latency_weight: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None


class Views:
    """What can be looked at of a server.

    Args:
        live: What is served.
        batcher: Embeds prompts with it.
        metrics: What was counted.
        allows_changes: Whether the server takes changes of the pool.
    """

    def __init__(self, live: LiveRouter, batcher: Batcher, metrics: Metrics, *, allows_changes: bool) -> None:
        self._live = live
        self._batcher = batcher
        self._metrics = metrics
        self._allows_changes = allows_changes
        self._outlooks = Outlooks(live)

    async def explain(self, body: ExplainRequest, request: Request) -> dict[str, Any]:
        """Why each prompt goes where it goes: estimates with 90 % intervals, costs, clusters, turns of the choice."""
        return await unless_gone(request.receive, self._explain(body))

    async def _explain(self, body: ExplainRequest) -> dict[str, Any]:
        prompts = self._live.router.texts(body.prompts)
        if sum(map(len, prompts)) > MOST_CHARACTERS:
            raise RefusedError(400, f"prompts: more than {MOST_CHARACTERS} characters. Send less.", param="prompts")
        while True:
            router, probability = await self._batcher.between(
                lambda: (self._live.router, self._live.router.cluster(prompts))
            )
            found = await self._outlooks.look(
                partial(_explain, body=body, prompts=prompts, head=router.head, probability=probability)
            )
            if found is not None:
                return found

    async def pool(self) -> dict[str, Any]:
        """The LLMs with costs, errors, drift and the traffic that they are expected to take."""
        return await self._outlooks.look(self._describe)

    def _describe(self, outlook: Outlook) -> dict[str, Any]:
        pool, traffic = outlook.router.pool, outlook.expectation.traffic.T.tolist()
        found = describe_pool(outlook.router)
        for row, llm in enumerate(found["llms"]):
            known = pool.llms[row]
            llm["drift"] = None if known.drift is None else _drift(known.drift)
            llm["traffic"] = traffic[row]
            llm["is_reachable"] = known.name in self._live.upstreams
        saved, weight = outlook.router.saved, outlook.defaults.latency_weight
        return found | {
            "cost_weights": COST_WEIGHTS,
            "cost_weight": outlook.chooser.cost_weight,
            "latency_weight": pool.latency_weight if weight is None else weight,
            "knows_latency": all(llm.latency is not None for llm in pool.llms if llm.is_available),
            "has_chat": bool(self._live.upstreams),
            "revision": 0 if saved is None else saved.revision.number,
            "allows_changes": self._allows_changes and saved is not None,
        }

    async def profile(self, llm: str) -> LLMProfile:
        """What the router knows of one LLM, as ``unirouter pool show`` prints it."""
        return await self._outlooks.look(lambda outlook: profile_llm(outlook.router, llm, **outlook.defaults.choice))

    async def history(self) -> list[Revision]:
        """All changes of the pool, the first one first; none where the router lies in no folder."""

        def look(outlook: Outlook) -> list[Revision]:
            if outlook.router.saved is None:
                return []
            return [Revision(revision=one.number, **vars(one.change)) for one in outlook.router.pool_history()]

        return await self._outlooks.look(look)

    async def curve(self) -> dict[str, Any]:
        """Expected quality against expected cost on the calibration prompts, and where the server is on it."""
        return await self._outlooks.look(_curve)

    async def traffic(self) -> dict[str, Any]:
        """What was counted since the start."""
        return self._metrics.counted()


def _explain(
    outlook: Outlook,
    body: ExplainRequest,
    prompts: Sequence[str],
    head: ClusterHead,
    probability: ClusterProbability,
) -> dict[str, Any] | None:
    """What is answered; none where another router came into service since the prompts were embedded."""
    if outlook.router.head is not head:
        return None
    pool, calibration = outlook.router.pool, outlook.router.calibration
    chooser = outlook.chooser_of(body.cost_weight, body.latency_weight)
    rows = zip(prompts, probability[:, None], strict=True)
    found = [explain(chooser, calibration, outlook.interval, prompt, row) for prompt, row in rows]
    return {
        "prompts": [ExplainedPrompt(text=text, **vars(one)) for text, one in zip(prompts, found, strict=True)],
        "cost_weight": chooser.cost_weight,
        "reference_cost": pool.reference_cost,
        "cost_unit": pool.cost_unit,
    }


def _curve(outlook: Outlook) -> dict[str, Any]:
    pool, (curve, cost, quality, _) = outlook.router.pool, outlook.expectation
    rows = torch.linspace(0, len(curve.cost) - 1, min(len(curve.cost), _MOST_POINTS)).round().long()
    target = pool.target
    rest = zip(pool.names, cost.tolist(), quality.tolist(), pool.available.tolist(), strict=True)
    return {
        "points": [_point(curve, row) for row in rows.tolist()],
        "llms": [
            {"llm": name, "cost": at, "quality": good, "is_available": available} for name, at, good, available in rest
        ],
        "in_force": _point_at(curve, outlook.chooser.cost_weight),
        "target": target and {"kind": target.kind, "value": target.value},
        "prompts": len(outlook.router.calibration.texts),
        "cost_unit": pool.cost_unit,
        "cost_is_estimate": pool.cost_is_estimate,
    }


def _point_at(curve: DeferralCurve, cost_weight: float) -> dict[str, float]:
    row = int(torch.searchsorted(curve.cost_weight, cost_weight, right=True)) - 1
    return _point(curve, row) | {"cost_weight": cost_weight}


def _point(curve: DeferralCurve, row: int) -> dict[str, float]:
    return {
        "cost_weight": float(curve.cost_weight[row]),
        "cost": float(curve.cost[row]),
        "quality": float(curve.quality[row]),
    }


def _drift(test: DriftTest) -> dict[str, Any]:
    return {
        "outcomes": test.num_prompts,
        "evidence": test.most_evidence,
        "alarm": test.has_drifted,
        "is_worse": test.is_worse,
    }
