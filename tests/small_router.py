"""A router over a tiny encoder, with a pool and calibration prompts of its own."""

from collections.abc import Callable
from pathlib import Path

import tiny_encoder
import torch

from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.router.calibration import CalibrationPrompts
from unirouter_torch.router.router import Router
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.pool import LLMPool

PROMPTS = {
    f"p{number}": f"the {word} sings" for number, word in enumerate(("otter", "kite", "clock", "harbour", "red"))
}
SCORES = {
    "small": {"p0": 1.0, "p1": 0.0, "p2": 0.0, "p3": 1.0, "p4": 0.0},
    "large": {"p0": 1.0, "p1": 1.0, "p2": 0.5, "p3": 1.0},
    "other": {"p1": 1.0, "p2": 0.0},
}
COST = {"small": 0.1, "large": 2.0, "other": 0.5}


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
