"""Multidimensional item response theory: an LLM is its abilities, inferred from its calibration outcomes."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.methods.fitting import Scaling, descend, mean_cross_entropy, overall_logit
from unirouter_torch.methods.method import RoutingMethod, choose_by_area
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Embedding, ErrorMatrix

NUM_ABILITIES = (1, 2, 4, 8)
WEIGHT_DECAY = (300.0, 1000.0, 3000.0)
NUM_STEPS = (60, 120)
LEARNING_RATE = 0.005

MAX_NEWTON_STEPS = 20
MAX_HALVINGS = 10
STEP_TOLERANCE = 1e-6
"""Largest step of an ability after which Newton's method has arrived."""

Ability = Float[Tensor, "llm ability"]


class Items(NamedTuple):
    """What prompts ask, as a linear map of their embedding: difficulty in the first column, then discriminations.

    Attributes:
        weight: Linear part.
        offset: Constant part.
    """

    weight: Float[Tensor, "*candidate dim item"]
    offset: Float[Tensor, "*candidate item"]

    def logit(
        self, embedding: Embedding, ability: Float[Tensor, "*candidate llm ability"]
    ) -> Float[Tensor, "*candidate prompt llm"]:
        """Log-odds of an error: ``b(x) - a(x) . ability``."""
        difficulty, discrimination = self.of(embedding)
        return difficulty - discrimination @ ability.mT

    def of(
        self, embedding: Embedding
    ) -> tuple[Float[Tensor, "*candidate prompt 1"], Float[Tensor, "*candidate prompt ability"]]:
        """Difficulty ``b(x)`` and discriminations ``a(x)`` of the prompts."""
        item = torch.einsum("pd,...di->...pi", embedding, self.weight) + self.offset.unsqueeze(-2)
        return item[..., :1], item[..., 1:]


class Prior(NamedTuple):
    """A Gaussian for the abilities of an LLM.

    Attributes:
        mean: Abilities of an LLM of which nothing is known.
        covariance: How LLMs differ.
    """

    mean: Float[Tensor, " ability"]
    covariance: Float[Tensor, "ability ability"]

    @classmethod
    def of(cls, ability: Ability) -> "Prior":
        """Mean and covariance of some LLMs' abilities, with one more LLM of unit covariance."""
        mean = ability.mean(0)
        deviation = ability - mean
        return cls(mean, (deviation.T @ deviation + torch.eye(len(mean))) / (len(ability) + 1))


class Candidate(NamedTuple):
    """Hyper-parameters.

    Attributes:
        num_abilities: Abilities of an LLM.
        weight_decay: Half of it times the squared weights of the items joins the summed cross-entropy.
        num_steps: Steps of training.
    """

    num_abilities: int
    weight_decay: float
    num_steps: int


class ItemResponse(RoutingMethod[Ability]):
    """Estimates an LLM's error by ``sigmoid(b(x) - a(x) . ability)``, with the abilities inferred at onboarding.

    Difficulty ``b`` and discriminations ``a`` are linear in the embedding and learned together with the abilities of
    the seen LLMs. An unseen LLM gets the most probable abilities given its calibration outcomes, under the Gaussian
    fitted to the abilities of the seen LLMs; without outcomes, the mean of that Gaussian. The number of abilities,
    weight decay and the number of steps are chosen by area on seen LLMs.

    Source: IRT-Router (arXiv:2506.01048) for the formula (its multidimensional form), with difficulty and
    discriminations read from the prompt's embedding. There abilities are learned from a description of the LLM; to
    infer those of an unseen LLM from its outcomes alone, as tests of people do, is ours, and so are the linear maps.
    """

    name: ClassVar[str] = "item_response"
    title: ClassVar[str] = "Item response"
    place: ClassVar[int] = 10

    def __init__(self) -> None:
        self._items = Items(torch.empty(0, 2), torch.empty(2))
        self._prior = Prior(torch.empty(1), torch.empty(1, 1))
        self._chosen = Candidate(1, 0.0, 0)

    def fit(self, trial: Trial) -> None:
        """Learn the items for every candidate and keep the best by area."""
        tuning = trial.tuning
        trained = train_items(trial.train, tuning.seed)

        def estimate(calibration: Outcomes) -> Iterator[ErrorMatrix]:
            for items, prior in trained.values():
                ability = infer_ability(calibration, items, prior)
                yield torch.sigmoid(items.logit(tuning.validation.embedding, ability))

        self._chosen = choose_by_area(list(trained), estimate, trial)
        self._items, self._prior = trained[self._chosen]

    def represent(self, calibration: Outcomes) -> Ability:
        """The most probable abilities of each LLM."""
        return infer_ability(calibration, self._items, self._prior)

    def estimate_error(self, embedding: Embedding, features: Ability) -> ErrorMatrix:
        """Probability of an error, given the abilities."""
        return torch.sigmoid(self._items.logit(embedding, features))

    def describe(self) -> dict[str, int | float]:
        """The chosen hyper-parameters."""
        return self._chosen._asdict()


def train_items(train: Outcomes, seed: int) -> dict[Candidate, tuple[Items, Prior]]:
    """Learn items and abilities by gradient descent for each candidate: weight decays side by side.

    The loss is the cross-entropy summed over observed pairs, plus weight decay, plus half the squared abilities.
    Training starts from one ability, the LLM's overall log-odds of an answer without error, and prompts that are alike.

    Args:
        train: Seen LLMs on training prompts; LLMs without outcomes play no part.
        seed: Seed of the first weights and of the batches.

    Returns:
        Items, and the Gaussian fitted to the abilities.
    """
    known = train.of_llms(train.observed.any(0).nonzero().squeeze(-1))
    scaling = Scaling.of(known.embedding)
    scaled = known._replace(embedding=scaling.apply(known.embedding))
    trained = {}
    for num_abilities in NUM_ABILITIES:
        snapshots = _train_side_by_side(scaled, num_abilities, seed)
        for (num_steps, parameters), row in product(zip(NUM_STEPS, snapshots, strict=True), range(len(WEIGHT_DECAY))):
            weight, offset, ability = (tensor[row] for tensor in parameters)
            candidate = Candidate(num_abilities, WEIGHT_DECAY[row], num_steps)
            trained[candidate] = Items(*scaling.fold(weight, offset)), Prior.of(ability)
    return trained


def _train_side_by_side(scaled: Outcomes, num_abilities: int, seed: int) -> list[list[Tensor]]:
    num_dims, num_llms = scaled.embedding.shape[1], scaled.error.shape[1]
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(num_dims, num_abilities + 1, generator=generator) * num_dims**-0.5
    weight[:, :2] = 0.0
    overall = overall_logit(scaled)
    offset = torch.tensor([float(overall.mean()), 1.0] + [0.0] * (num_abilities - 1))
    ability = torch.zeros(num_llms, num_abilities)
    ability[:, 0] = overall.mean() - overall
    num_pairs = scaled.observed.sum().clamp(min=1)
    decay = torch.tensor(WEIGHT_DECAY)

    def loss(parameters: Sequence[Tensor], batch: Outcomes) -> Tensor:
        weight, offset, ability = parameters
        penalty = decay * weight.square().sum((1, 2)) + ability.square().sum((1, 2))
        logit = Items(weight, offset).logit(batch.embedding, ability)
        return (mean_cross_entropy(logit, batch) + penalty / (2 * num_pairs)).sum()

    copies = [torch.stack([tensor] * len(decay)) for tensor in (weight, offset, ability)]
    return descend(copies, loss, scaled, NUM_STEPS, learning_rate=LEARNING_RATE, seed=seed)


def infer_ability(calibration: Outcomes, items: Items, prior: Prior) -> Ability:
    """Most probable abilities given the outcomes, by Newton's method for all LLMs at once.

    Maximises ``sum_x [e log p + (1 - e) log(1 - p)] + log N(ability; prior)`` over the observed prompts, which is
    strictly concave; a step that would lower it is halved until it does not.

    Args:
        calibration: Outcomes of the LLMs; the errors may be graded.
        items: Difficulty and discriminations.
        prior: Gaussian of the abilities.

    Returns:
        Abilities of each LLM; the mean of the prior without outcomes.
    """
    difficulty, discrimination = (part.double() for part in items.of(calibration.embedding))
    observed = calibration.observed.double()
    error = torch.where(calibration.observed, calibration.error, 0.0).double()
    mean, precision = prior.mean.double(), torch.linalg.inv(prior.covariance.double())
    pairs = torch.einsum("pi,pj->pij", discrimination, discrimination).flatten(1)

    def log_posterior(ability: Ability) -> Float[Tensor, " llm"]:
        logit = difficulty - discrimination @ ability.T
        log_likelihood = (error * logit - torch.nn.functional.softplus(logit)) * observed
        deviation = ability - mean
        return log_likelihood.sum(0) - torch.einsum("la,ab,lb->l", deviation, precision, deviation) / 2

    ability = mean.expand(error.shape[1], -1)
    current = log_posterior(ability)
    for _ in range(MAX_NEWTON_STEPS):
        expected = torch.sigmoid(difficulty - discrimination @ ability.T)
        gradient = ((expected - error) * observed).T @ discrimination - (ability - mean) @ precision
        information = (expected * (1 - expected) * observed).T @ pairs
        step = torch.linalg.solve(information.view(-1, *precision.shape) + precision, gradient)
        if step.abs().max() < STEP_TOLERANCE:
            break
        for _ in range(MAX_HALVINGS):
            is_worse = log_posterior(ability + step) < current
            if not is_worse.any():
                break
            step[is_worse] /= 2
        ability = ability + step
        current = log_posterior(ability)
    return ability.float()
