"""How faithful a router is that another backend than torch runs."""

from typing import TYPE_CHECKING

import torch

from unirouter_torch.config.router import DEFAULT_COST_WEIGHT
from unirouter_torch.encoder.embedding_cache import embed_with_cache
from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.encoder.tensor_cache import cache_folder

if TYPE_CHECKING:
    from unirouter_torch.router.router import Router

COST_WEIGHTS = (0.0, DEFAULT_COST_WEIGHT, 1.0)
"""What choices are compared at [1]."""


@torch.inference_mode()
def share_of_equal_choices(router: "Router") -> float | None:
    """Share of choices for the calibration prompts that are those of the cluster probabilities saved with them.

    Those were computed by torch. Each prompt counts at each of ``COST_WEIGHTS``. The embeddings are kept in the
    user's cache, so that the next call takes little.

    Args:
        router: Its encoder runs on another backend.

    Returns:
        The share, in [0, 1]; None without LLMs, or where no prompt fits any.
    """
    encoder, calibration = router.encoder, router.calibration  # the encoder first: what is wrong with it shows here
    tokens = count_tokens(calibration.texts)
    if not router.pool.names or not calibration.texts:
        return None
    embedding = embed_with_cache(encoder, calibration.texts, cache_dir=cache_folder(None))
    probability = router.head(embedding.to(router.head.device))
    expected = calibration.cluster_probability.to(probability)
    chooser = router.chooser()
    fits = chooser.totals(expected, tokens).isfinite().any(-1).cpu()
    if not fits.any():
        return None
    equal = [
        one.choose(probability[fits], tokens[fits]) == one.choose(expected[fits], tokens[fits])
        for one in map(chooser.at, COST_WEIGHTS)
    ]
    return torch.stack(equal).double().mean().item()
