"""Networks with one output for each LLM: their training, and the two ways to make a routing method of them."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.methods.method import RoutingMethod, choose_by_area
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Embedding, ErrorMatrix

PROMPTS_IN_A_BATCH = 512
"""Prompts of one training step; fewer prompts are one batch."""

Activation = Callable[[Tensor], Tensor]

CandidateLogit = Float[Tensor, "candidate prompt llm"]
"""Log-odds of an error for each of several candidates that are trained side by side."""


class Scaling(NamedTuple):
    """``(embedding - mean) * factor``: centred, of mean square one a dimension.

    Attributes:
        mean: Mean embedding.
        factor: One number for all dimensions, so that distances keep their proportions.
    """

    mean: Float[Tensor, " dim"]
    factor: float

    @classmethod
    def of(cls, embedding: Embedding) -> "Scaling":
        """Centre and scale these prompts; a factor of 1 where all are the same."""
        mean = embedding.mean(0)
        spread = float((embedding - mean).square().mean().sqrt())
        return cls(mean, 1.0 / spread if spread > 0 else 1.0)

    def apply(self, embedding: Embedding) -> Embedding:
        """The scaled embedding."""
        return (embedding - self.mean) * self.factor

    def fold(
        self, weight: Float[Tensor, "dim hidden"], offset: Float[Tensor, " hidden"]
    ) -> tuple[Float[Tensor, "dim hidden"], Float[Tensor, " hidden"]]:
        """The linear map of raw embeddings that equals this one of scaled embeddings."""
        weight = weight * self.factor
        return weight, offset - self.mean @ weight


@torch.enable_grad()
def descend(
    start: Sequence[Tensor],
    loss: Callable[[Sequence[Tensor], Outcomes], Tensor],
    outcomes: Outcomes,
    num_steps: Sequence[int],
    *,
    learning_rate: float,
    seed: int,
) -> list[list[Tensor]]:
    """Adam from ``start``, read off after several numbers of steps.

    Args:
        start: Parameters to begin with; left as they are.
        loss: What to lessen, given the parameters and a batch of prompts.
        outcomes: All prompts in one batch up to 512, else shuffled batches of 512 without the remainder.
        num_steps: After which steps to read the parameters off, ascending.
        learning_rate: Step size of Adam.
        seed: Seed of the batches.

    Returns:
        Parameters after each of ``num_steps``.
    """
    parameters = [tensor.clone().requires_grad_() for tensor in start]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    snapshots = []
    for step, batch in zip(range(1, num_steps[-1] + 1), _batches(outcomes, seed), strict=False):
        optimizer.zero_grad()
        loss(parameters, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step in num_steps:
            snapshots.append([tensor.detach().clone() for tensor in parameters])
    return snapshots


def _batches(outcomes: Outcomes, seed: int) -> Iterator[Outcomes]:
    num_prompts = outcomes.embedding.shape[0]
    generator = torch.Generator().manual_seed(seed)
    while True:
        if num_prompts <= PROMPTS_IN_A_BATCH:
            yield outcomes
            continue
        order = torch.randperm(num_prompts, generator=generator)
        for start in range(0, num_prompts - PROMPTS_IN_A_BATCH + 1, PROMPTS_IN_A_BATCH):
            yield outcomes.of_prompts(order[start : start + PROMPTS_IN_A_BATCH])


def mean_cross_entropy(logit: CandidateLogit, outcomes: Outcomes) -> Float[Tensor, " candidate"]:
    """Mean over observed pairs of ``-e log p - (1 - e) log(1 - p)`` with ``p = sigmoid(logit)``; 0 without any."""
    target = torch.where(outcomes.observed, outcomes.error, 0.0)
    entropy = torch.nn.functional.softplus(logit) - target * logit
    return (entropy * outcomes.observed).sum((-2, -1)) / outcomes.observed.sum().clamp(min=1)


def overall_logit(outcomes: Outcomes) -> Float[Tensor, " llm"]:
    """Log-odds of each LLM's mean error, with one more outcome of one half; 0 for an LLM without outcomes."""
    total = torch.where(outcomes.observed, outcomes.error, 0.0).sum(0)
    return torch.logit((total + 0.5) / (outcomes.observed.sum(0) + 1))


class Network(NamedTuple):
    """Two layers: ``logit = activation(embedding @ weight + offset) @ output + output_offset``, one for each LLM.

    Attributes:
        weight: First layer.
        offset: Added to the first layer.
        output: Second layer.
        output_offset: Added to the second layer.
    """

    weight: Float[Tensor, "*candidate dim hidden"]
    offset: Float[Tensor, "*candidate hidden"]
    output: Float[Tensor, "*candidate hidden llm"]
    output_offset: Float[Tensor, "*candidate llm"]

    def logit(self, embedding: Embedding, activation: Activation) -> Float[Tensor, "*candidate prompt llm"]:
        """Log-odds of an error."""
        hidden = torch.einsum("pd,...dh->...ph", embedding, self.weight) + self.offset.unsqueeze(-2)
        return activation(hidden) @ self.output + self.output_offset.unsqueeze(-2)


class Candidate(NamedTuple):
    """Hyper-parameters of a network.

    Attributes:
        num_hidden: Size of the hidden layer.
        weight_decay: Half of it times the squared entries of both layers joins the summed cross-entropy.
        num_steps: Steps of training.
    """

    num_hidden: int
    weight_decay: float
    num_steps: int


class Grid(NamedTuple):
    """A kind of network, and the hyper-parameters to choose from.

    Attributes:
        activation: Between the layers.
        learning_rate: Step size of Adam.
        num_hidden: Sizes of the hidden layer.
        weight_decay: Weight decays.
        num_steps: Steps of training, ascending.
    """

    activation: Activation
    learning_rate: float
    num_hidden: tuple[int, ...]
    weight_decay: tuple[float, ...]
    num_steps: tuple[int, ...]

    def candidates(self) -> list[Candidate]:
        """All combinations."""
        return [Candidate(*values) for values in product(self.num_hidden, self.weight_decay, self.num_steps)]

    def only(self, candidate: Candidate) -> "Grid":
        """The same kind of network with one combination."""
        num_hidden, weight_decay, num_steps = candidate
        return self._replace(num_hidden=(num_hidden,), weight_decay=(weight_decay,), num_steps=(num_steps,))


def train_networks(outcomes: Outcomes, grid: Grid, seed: int) -> dict[Candidate, Network]:
    """Train one network for each candidate of a grid: weight decays side by side, numbers of steps in one run.

    The loss is the cross-entropy summed over observed pairs plus the weight decay. The embedding is centred and
    scaled; the layers returned have that folded in. The second layer starts at zero and its offset at each LLM's
    overall log-odds, so that training starts from the estimate that ignores the prompt.

    Args:
        outcomes: What to fit; the errors may be graded.
        grid: Candidates.
        seed: Seed of the first layer and of the batches.

    Returns:
        The networks. An LLM without outcomes has the logit 0 on every prompt.
    """
    scaling = Scaling.of(outcomes.embedding)
    scaled = outcomes._replace(embedding=scaling.apply(outcomes.embedding))
    trained = {}
    for num_hidden in grid.num_hidden:
        for num_steps, layers in zip(grid.num_steps, _train_side_by_side(scaled, grid, num_hidden, seed), strict=True):
            for row, weight_decay in enumerate(grid.weight_decay):
                weight, offset, output, output_offset = (tensor[row] for tensor in layers)
                network = Network(*scaling.fold(weight, offset), output, output_offset)
                trained[Candidate(num_hidden, weight_decay, num_steps)] = network
    return trained


def _train_side_by_side(scaled: Outcomes, grid: Grid, num_hidden: int, seed: int) -> list[list[Tensor]]:
    num_dims, num_llms = scaled.embedding.shape[1], scaled.error.shape[1]
    weight = torch.randn(num_dims, num_hidden, generator=torch.Generator().manual_seed(seed)) * num_dims**-0.5
    start = Network(weight, torch.zeros(num_hidden), torch.zeros(num_hidden, num_llms), overall_logit(scaled))
    decay = torch.tensor(grid.weight_decay) / scaled.observed.sum().clamp(min=1)

    def loss(parameters: Sequence[Tensor], batch: Outcomes) -> Tensor:
        network = Network(*parameters)
        squares = network.weight.square().sum((1, 2)) + network.output.square().sum((1, 2))
        logit = network.logit(batch.embedding, grid.activation)
        return (mean_cross_entropy(logit, batch) + decay / 2 * squares).sum()

    copies = [torch.stack([tensor] * len(decay)) for tensor in start]
    return descend(copies, loss, scaled, grid.num_steps, learning_rate=grid.learning_rate, seed=seed)


class _NetworkMethod(RoutingMethod[Network]):
    """A network with one output for each LLM; the kind of network is the subclass's."""

    def __init__(self) -> None:
        self._chosen = self.grid.candidates()[0]
        self._seed = 0

    @property
    @abstractmethod
    def grid(self) -> Grid:
        """The kind of network, and the hyper-parameters to choose from."""

    def estimate_error(self, embedding: Embedding, features: Network) -> ErrorMatrix:
        """Sigmoid of the network's logits."""
        return torch.sigmoid(features.logit(embedding, self.grid.activation))

    def describe(self) -> dict[str, int | float]:
        """The chosen hyper-parameters."""
        return self._chosen._asdict()


class RetrainedNetwork(_NetworkMethod):
    """Trains a network on the calibration prompts whenever LLMs are onboarded: that training is what they cost."""

    def fit(self, trial: Trial) -> None:
        """Choose the hyper-parameters on networks trained for the seen LLMs on draws of training prompts."""
        tuning = trial.tuning
        self._seed = tuning.seed
        candidates = self.grid.candidates()

        def estimate(calibration: Outcomes) -> Iterator[ErrorMatrix]:
            networks = train_networks(calibration, self.grid, tuning.seed)
            for candidate in candidates:
                yield self.estimate_error(tuning.validation.embedding, networks[candidate])

        self._chosen = choose_by_area(candidates, estimate, trial)

    def represent(self, calibration: Outcomes) -> Network:
        """A network trained on the calibration prompts alone; an LLM without outcomes is estimated at 0.5."""
        return train_networks(calibration, self.grid.only(self._chosen), self._seed)[self._chosen]


class ClairvoyantNetwork(_NetworkMethod):
    """Trains a network with the unseen LLMs' outcomes on training prompts, which no router may see: a reference."""

    is_clairvoyant: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._network: Network | None = None

    def fit(self, trial: Trial) -> None:
        """Choose the hyper-parameters on a network trained for the seen LLMs, then train one for the unseen LLMs."""
        tuning = trial.tuning
        networks = train_networks(trial.train, self.grid, tuning.seed)

        def area(candidate: Candidate) -> float:
            estimated = self.estimate_error(tuning.validation.embedding, networks[candidate])
            return tuning.area(estimated, tuning.validation)

        self._chosen = max(self.grid.candidates(), key=area)
        chosen = self.grid.only(self._chosen)
        self._network = train_networks(trial.clairvoyant, chosen, tuning.seed)[self._chosen]

    def represent(self, calibration: Outcomes) -> Network:
        """The network trained already, whatever the calibration outcomes say; they must be of the same LLMs."""
        assert self._network is not None
        assert calibration.error.shape[1] == self._network.output.shape[1]
        return self._network
