"""AdamW with warm-up and cosine decay."""

import math

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from unirouter_torch.config.training import OptimizerConfig


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> Optimizer:
    """AdamW over all parameters of ``module``; only matrices decay."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
    )


def build_schedule(optimizer: Optimizer, config: OptimizerConfig, max_steps: int) -> LambdaLR:
    """Learning rate that rises linearly over the warm-up and falls to zero as a half cosine."""
    # not transformers' schedule of that name, whose rate begins at 0 instead of its first step: results would move
    warmup = config.warmup_fraction * max_steps

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, max_steps - warmup)))

    return LambdaLR(optimizer, factor)
