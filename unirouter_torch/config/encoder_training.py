"""Settings of the training of the encoder, jointly with the head."""

from dataclasses import dataclass
from typing import Literal

from unirouter_torch.config.checks import at_least, positive
from unirouter_torch.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EncoderTrainingConfig:
    """Which weights of the encoder are trained with the head, after the head was trained over the frozen encoder."""

    mode: Literal["frozen", "full", "last_layers", "lora"] = "frozen"
    """``frozen``: none; ``full``: all; ``last_layers``: the last layers, the output of the others being cached on disk;
    ``lora``: low-rank changes of linear layers, which are added to the weights when the router is saved."""
    num_layers: int = 2
    """How many layers ``last_layers`` trains, at least 1 and at most those of the encoder."""
    lora_rank: int = 8
    """Rank of the changes of ``lora``, at least 1."""
    lora_alpha: int = 16
    """Strength of ``lora``, at least 1: a change is multiplied by ``lora_alpha / lora_rank``."""
    lora_targets: list[str] | None = None
    """Names of the modules that ``lora`` changes, as in peft; all linear layers when not given."""
    learning_rate: float = 2e-5
    """Largest learning rate of the encoder, positive; the head goes on with ``optimizer.learning_rate``."""
    num_prompts: int = 128
    """Prompts that pass through the encoder with gradients in an episode, on each device, at least 2: calibration
    prompts up to a half, the others targets."""
    accumulate: int = 1
    """Episodes whose gradients make one step, at least 1."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient of a step, positive; longer ones are cut to it."""
    gradient_checkpointing: bool = False
    """Whether to compute the inside of each layer again in the backward pass: less memory, more time."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Lightning's name of the number format in the encoder; the head and the loss are always in float32."""
    compile: bool = False
    """Whether to compile the trained part of the encoder."""
    max_steps: int = 500
    """Training steps at most, at least 1."""
    validate_every: int = 25
    """Steps between two looks at the validation loss, at least 1; the weights of the least one are kept, those before
    the first step among them."""
    patience: int = 5
    """Looks in a row without a new least loss that end the training, at least 1."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, least in (
            ("num_layers", 1),
            ("lora_rank", 1),
            ("lora_alpha", 1),
            ("num_prompts", 2),
            ("accumulate", 1),
            ("max_steps", 1),
            ("validate_every", 1),
            ("patience", 1),
        ):
            at_least(f"encoder_training.{name}", getattr(self, name), least)
        for name in ("learning_rate", "gradient_clip"):
            positive(f"encoder_training.{name}", getattr(self, name))
        if self.lora_targets == []:
            raise ConfigError("encoder_training.lora_targets: got none, expected names of modules, or null for all.")
