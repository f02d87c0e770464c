"""Settings of the router itself: what it is made of."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from unirouter_torch.config.checks import at_least, positive
from unirouter_torch.config.fingerprint import Decides
from unirouter_torch.messages import LAST_USER, check_conversation_rule

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_COST_WEIGHT = 0.1
CHARS_PER_TOKEN = 4
"""Characters taken for one token where tokens were not counted."""


KeptPart: TypeAlias = Literal["head", "tail", "head_and_tail"]
"""What is read of a prompt that is longer than the encoder reads; the rest is cut."""

Backend: TypeAlias = Literal["torch", "onnx", "onnx-int8"]
"""What runs a transformer encoder."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """What embeds prompts: a transformer, or a static encoder, whose table of token vectors costs nothing to read."""

    name: str = DEFAULT_ENCODER
    """Hub id, or a local folder, of sentence-transformers, Hugging Face or model2vec; or ``unirouter-static``, the one
    that comes with the package."""
    revision: str | None = None
    """Branch, tag or commit on the hub; the hub's default when not given."""
    max_length: int | None = None
    """Longest prompt [tokens], at least 8; longer ones are cut. What the encoder's own files say when not given."""
    form_weight: float | None = None
    """Weight of surface features (lengths, digits, punctuation, code marks) beside the embedding, at least 0; 0 leaves
    them out. What the encoder's own files say when not given, and 0 where they say nothing."""
    keep: KeptPart = "head"
    """What is read of a prompt, or conversation, of more than ``max_length`` tokens: its beginning, its end, or half of
    each; the rest is cut."""
    conversation: str = LAST_USER
    """How a conversation becomes the text that it is routed by: ``last_user`` (the last message of the user),
    ``last_turns:N`` (from the N-th last message of the user on, with calls of tools and their results) or ``whole``."""
    backend: Backend = "torch"
    """What runs a transformer that is not trained: ``torch``; ``onnx``, ONNX Runtime on the CPU (extra ``onnx``); or
    ``onnx-int8``, the same with 8-bit weights, which is faster and moves embeddings a little."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.form_weight is not None:
            at_least("encoder.form_weight", self.form_weight, 0)
        if self.max_length is not None:
            at_least("encoder.max_length", self.max_length, 8)
        check_conversation_rule(self.conversation, "encoder.conversation")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The soft cluster head."""

    num_clusters: int = 32
    """Number of clusters, at least 1; a quarter of the training prompts at most are used."""
    sharpness: float = 10.0
    """Inverse squared width of a cluster at the K-means warm start [1 / squared distance], positive."""
    initial_shrinkage: float = 5.0
    """Shrinkage of cluster errors before training [prompts], positive; training learns it."""
    far_clusters: bool = False
    """Whether each cluster gets a twin for prompts unlike all training prompts: for traffic that will bring other kinds
    of prompts than the present ones. Scoring then has twice the clusters."""
    start_from: str | None = field(default=None, metadata=Decides.NOTHING.mark)
    """A trained router that training starts from, a folder or ``unirouter-minilm``: its clusters, difficulty and
    shrinkage, and its encoder where it brings one. K-means when not given."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least("head.num_clusters", self.num_clusters, 1)
        positive("head.sharpness", self.sharpness)
        positive("head.initial_shrinkage", self.initial_shrinkage)
