"""A router over a tiny encoder, with a pool and calibration prompts of its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import tiny_encoder
import torch

from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.router.calibration import CalibrationPrompts, TokenPrices
from unirouter_torch.router.router import Router
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.target import Target

PROMPTS = {
    f"p{number}": f"the {word} sings" for number, word in enumerate(("otter", "kite", "clock", "harbour", "red"))
}
SCORES = {
    "small": {"p0": 1.0, "p1": 0.0, "p2": 0.0, "p3": 1.0, "p4": 0.0},
    "large": {"p0": 1.0, "p1": 1.0, "p2": 0.5, "p3": 1.0},
    "other": {"p1": 1.0, "p2": 0.0},
}
COST = {"small": 0.1, "large": 2.0, "other": 0.5}
KINDS = {"transformer": tiny_encoder.save_bert, "static": tiny_encoder.save_static_with_form}
"""Writers of both kinds of encoder, for tests that run over both."""


def small_router(
    folder: Path,
    num_clusters: int = 3,
    save_encoder: Callable[..., Path] = tiny_encoder.save_bert,
    pooling: str = "pooling_mode_mean_tokens",
) -> Router:
    """A router in memory; its encoder lies in ``folder``, written by ``save_encoder`` with the given pooling."""
    save_encoder(folder / "encoder", pooling={pooling: True})
    encoder = PromptEncoder.from_pretrained(str(folder / "encoder"))
    head = ClusterHead(encoder.dim, num_clusters)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        head.linear.weight.normal_(generator=generator)
        head.log_shrinkage.fill_(0.4)
        head.difficulty.normal_(generator=generator)
    nothing = CalibrationPrompts(prompt_ids=(), texts=(), cluster_probability=torch.zeros(0, num_clusters))
    router = Router(
        encoder=encoder,
        head=head,
        pool=LLMPool.empty(num_clusters),
        calibration=nothing,
        about={},
    )
    router.calibrate(PROMPTS, SCORES, COST)
    return router.eval()


def with_far_clusters(router: Router) -> None:
    """Clusters with twins for prompts unlike the calibration prompts."""
    with torch.no_grad():
        router.head.linear.weight.mul_(8)
    router.head.split_far(router.encoder.embed(list(PROMPTS.values())))
    router.calibrate(PROMPTS, SCORES, COST)


def with_all_kinds_of_llms(router: Router) -> None:
    """LLMs paid by the token, disabled, of a limited context, observed in use, and as good as another one."""
    lengths = {"p0": 1.0, "p1": 2.0, "p2": 40.0, "p3": 20.0, "p4": 90.0}
    for name, price_in, price_out in (("metered", 0.1, 0.002), ("by answer", 0.0, 0.02)):
        tokens = TokenPrices(price_in=price_in, price_out=price_out, output_tokens=lengths)
        router.add_llm(name, dict.fromkeys(PROMPTS, 0.9), 0.0, tokens=tokens)
    router.pool = router.pool.with_changes("other", is_available=False).with_changes("small", context_tokens=5)
    router.observe("large", list(PROMPTS.values()), [1.0] * len(PROMPTS))
    for name, cost in (("cheaper twin", 1.0), ("later twin", 2.0)):
        router.pool = router.pool.with_llm(replace(router.pool["large"], name=name, cost=cost))


def with_latencies(router: Router) -> None:
    """A target that counts latency, which is known of all LLMs."""
    for number, llm in enumerate(router.pool.llms):
        latency = Latency(seconds=0.1 * (number + 1), seconds_per_token=0.0 if llm.token_cost is None else 0.01)
        router.pool = router.pool.with_changes(llm.name, latency=latency)
    router.pool = replace(router.pool, target=Target(kind="quality", value=0.5, latency_weight=0.3))
