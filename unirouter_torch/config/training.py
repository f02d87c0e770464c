"""Settings of a training run: one object, one YAML file."""

from dataclasses import dataclass, field
from typing import Literal

from unirouter_torch.config.checks import at_least, fraction, positive
from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.config.fingerprint import Decides
from unirouter_torch.config.router import EncoderConfig, HeadConfig
from unirouter_torch.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The routing table and how it is split."""

    path: str = field(default="simulated", metadata=Decides.NOTHING.mark)
    """The table: a folder of Parquet files, a CSV or JSONL file, ``hub:owner/name``, or ``simulated``."""
    tables: list[str] = field(default_factory=list, metadata=Decides.NOTHING.mark)
    """Other tables to train on as well, in the forms of ``path``, all their prompts and LLMs."""
    cost: Literal["auto", "billed", "estimated", "list_price", "parameters", "equal"] = "auto"
    """What an LLM costs; ``auto`` takes the first of the others that is known for at least half of the LLMs, and for at
    least half of their answers where it is a mean over these."""
    group_column: str | None = None
    """Column of the LLMs that names which ones are the same LLM, ``llm_group`` when not given; a split never parts
    them."""
    same_llm: list[list[str]] = field(default_factory=list)
    """Lists of LLMs that are the same LLM, beside the group column."""
    unseen_fraction: float = 1 / 3
    """Share of the LLMs kept from training, in [0, 1); 0 routes among the training LLMs."""
    num_calibration: int = 400
    """How many validation prompts represent an unseen LLM, at least 1; all of them where there are fewer. Where all
    LLMs are seen, their outcomes on all other prompts count, and this is how many prompts a saved router keeps for LLMs
    that join later."""
    calibration: Literal["random", "selected"] = field(default="random", metadata=Decides.BY_NAME.mark)
    """Which: validation prompts at random, or those training and validation prompts that tell most about an LLM."""
    cache_dir: str | None = field(default=None, metadata=Decides.NOTHING.mark)
    """Folder for embeddings; the user's cache folder when not given."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        fraction("data.unseen_fraction", self.unseen_fraction)
        at_least("data.num_calibration", self.num_calibration, 1)
        if self.unseen_fraction == 0 and self.calibration == "selected":
            raise ConfigError(
                "data.calibration: got selected with data.unseen_fraction 0, where every outcome of the LLMs counts. "
                "Set data.calibration to random, or keep LLMs unseen."
            )


@dataclass(frozen=True, kw_only=True)
class EpisodeConfig:
    """What one training step draws."""

    num_targets: int = 512
    """Prompts whose outcomes are predicted, at least 1."""
    min_calibration: int = 30
    """Fewest calibration prompts, at least 1."""
    max_calibration: int = 1000
    """Most calibration prompts; their number is log-uniform between the two."""
    llm_fraction: float = 0.75
    """Share of the training LLMs in an episode, in (0, 1]."""
    held_out_fraction: float = 0.0
    """Share of the seen LLMs that no step uses, in [0, 1), for learning curves on LLMs that training has not met: at
    least 2, but none of fewer than 10, and none when 0. What they would have taught is lost to the router."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least("episodes.num_targets", self.num_targets, 1)
        at_least("episodes.min_calibration", self.min_calibration, 1)
        if self.max_calibration < self.min_calibration:
            raise ConfigError(
                f"episodes.max_calibration: got {self.max_calibration}, expected at least "
                f"episodes.min_calibration = {self.min_calibration}."
            )
        fraction("episodes.held_out_fraction", self.held_out_fraction)
        if not 0 < self.llm_fraction <= 1:
            raise ConfigError(f"episodes.llm_fraction: got {self.llm_fraction}, expected more than 0 and at most 1.")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay to zero."""

    learning_rate: float = 3e-3
    """Largest learning rate, positive."""
    weight_decay: float = 0.0
    """Decoupled weight decay of the weights, not of biases and scalars; at least 0."""
    warmup_fraction: float = 0.05
    """Share of the steps with a rising learning rate, in [0, 1)."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        positive("optimizer.learning_rate", self.learning_rate)
        at_least("optimizer.weight_decay", self.weight_decay, 0)
        fraction("optimizer.warmup_fraction", self.warmup_fraction)


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Where and how long Lightning trains."""

    max_steps: int = 1000
    """Training steps (episodes), at least 1."""
    validate_every: int = 25
    """Steps between two looks at the validation loss, at least 1; the weights of the least one are kept."""
    accelerator: str = field(default="cpu", metadata=Decides.ROUNDING.mark)
    """Lightning's name of the hardware: ``cpu``, ``gpu``, ``auto``."""
    devices: int = field(default=1, metadata=Decides.ROUNDING.mark)
    """Number of devices of each node, at least 1; every episode is shared out over all of them."""
    num_nodes: int = field(default=1, metadata=Decides.ROUNDING.mark)
    """Number of machines, at least 1; torchrun or SLURM starts the workers of several."""
    strategy: Literal["auto", "ddp", "fsdp"] = field(default="auto", metadata=Decides.ROUNDING.mark)
    """How several devices share the work: ``ddp`` keeps all weights on each, ``fsdp`` a part of those of an encoder
    that is trained; ``auto`` is ``ddp`` where there are several."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least("trainer.max_steps", self.max_steps, 1)
        at_least("trainer.validate_every", self.validate_every, 1)
        at_least("trainer.devices", self.devices, 1)
        at_least("trainer.num_nodes", self.num_nodes, 1)
        if self.strategy != "auto" and self.num_workers == 1:
            raise ConfigError(
                f"trainer.strategy: got {self.strategy} with one device, expected auto; or set trainer.devices."
            )

    @property
    def num_workers(self) -> int:
        """Number of devices of all nodes, with one process each."""
        return self.devices * self.num_nodes


@dataclass(frozen=True, kw_only=True)
class CurveConvention:
    """Conventions of the deferral curve that no paper settles."""

    cost_axis: Literal["dearest", "range"] = "dearest"
    """Relative cost: over the cost of the most expensive LLM, or rescaled from the cheapest (0) to that one (1)."""
    interpolation: Literal["linear", "step"] = "linear"
    """Between two points: mix the two routers at random, or keep the cheaper one."""
    left: Literal["hold", "zero"] = "hold"
    """Quality to the left of the cheapest point: that point's, or 0."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Settings that ``unirouter evaluate`` varies one at a time; nothing is varied unless values are given."""

    num_trials: int = 10
    """Trials at each value, at least 1; never more than the run has."""
    num_calibration: list[int] = field(default_factory=list)
    """Numbers of calibration prompts, each at least 1; those beyond the validation prompts are left out."""
    num_clusters: list[int] = field(default_factory=list)
    """Numbers of clusters, each at least 1, for the methods that have one: K-means, LearnedMap, end-to-end."""
    num_seen_llms: list[int] = field(default_factory=list)
    """Numbers of seen LLMs to train on, each at least 2; those beyond the seen LLMs are left out."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least("evaluation.sweeps.num_trials", self.num_trials, 1)
        for name, least in (("num_calibration", 1), ("num_clusters", 1), ("num_seen_llms", 2)):
            for value in getattr(self, name):
                at_least(f"evaluation.sweeps.{name}", value, least)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What the trained router is compared with, and how."""

    methods: list[str] | None = None
    """Methods to evaluate, ``end_to_end`` among them: names of this package's, of entry points
    ``unirouter_torch.methods``, or ``package.module:Class``; null: ``zero``, ``knn``, ``kmeans``, ``end_to_end`` and
    ``oracle`` in ``train.py``, every method of this package in ``unirouter evaluate`` and ``unirouter stress``."""
    reference: str = "end_to_end"
    """Method that the others are compared with over several trials."""
    sweeps: SweepConfig = field(default_factory=SweepConfig)
    """What ``unirouter evaluate`` varies."""
    curve: CurveConvention = field(default_factory=CurveConvention)
    """Conventions of the deferral curve."""

    def __post_init__(self) -> None:
        """Check the methods."""
        if self.methods is None:
            return
        for name in ("end_to_end", self.reference):
            if name not in self.methods:
                raise ConfigError(f"evaluation.methods: expected {name} among them; add it.")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a router end to end, evaluate it on unseen LLMs beside other methods, and save it."""

    seed: int = 0
    """Seed of the split, the calibration prompts and the training, at least 0."""
    output_dir: str = "runs/router"
    """Folder of the run: config, logs, results, picture and router."""
    logger: Literal["csv", "wandb"] = "csv"
    """Where learning curves go: a CSV file in the run folder, and Weights & Biases if asked for."""
    data: DataConfig = field(default_factory=DataConfig)
    """The routing table."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The prompt encoder."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """The cluster head."""
    episodes: EpisodeConfig = field(default_factory=EpisodeConfig)
    """What one step draws."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The optimizer."""
    encoder_training: EncoderTrainingConfig = field(default_factory=EncoderTrainingConfig)
    """Which weights of the encoder are trained, and how."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """Hardware and length of the training."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """The comparison."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least("seed", self.seed, 0)
        self._check_sharding()
        if self.head.start_from is not None and self.evaluation.sweeps.num_clusters:
            raise ConfigError(
                f"evaluation.sweeps.num_clusters: got {self.evaluation.sweeps.num_clusters}, expected none with "
                "head.start_from, whose router has its clusters. Set evaluation.sweeps.num_clusters to []."
            )

    def _check_sharding(self) -> None:
        if self.trainer.strategy != "fsdp":
            return
        if self.encoder_training.mode == "frozen":
            raise ConfigError(
                "trainer.strategy: got fsdp with a frozen encoder, which leaves nothing to share out. Choose ddp, or "
                "set encoder_training.mode."
            )
        if self.encoder_training.compile:
            raise ConfigError(
                "encoder_training.compile: got true with trainer.strategy fsdp, which compiles nothing. Set it to "
                "false, or choose ddp."
            )
