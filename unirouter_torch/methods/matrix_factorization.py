"""Matrix factorisation: the logit of an error is an inner product, retrained at onboarding or clairvoyant."""

from typing import ClassVar

from torch import Tensor

from unirouter_torch.methods.fitting import ClairvoyantNetwork, Grid, RetrainedNetwork


def _identity(hidden: Tensor) -> Tensor:
    return hidden


GRID = Grid(
    activation=_identity,
    learning_rate=0.01,
    num_hidden=(1, 4, 16),
    weight_decay=(30.0, 100.0, 300.0),
    num_steps=(10, 20, 40, 80),
)


class MatrixFactorization(RetrainedNetwork):
    """Estimates errors by the inner product of a vector for the prompt and one for the LLM, both trained afresh.

    ``sigmoid(v_h . (W x + w) + u_h)``: a linear map takes the embedding to a space of low rank, in which each LLM has
    a vector; trained with cross-entropy on the calibration prompts. The rank (``num_hidden``), weight decay and the
    number of steps are chosen by area on seen LLMs. A term of the prompt alone is left out: it gained nothing.

    Source: RouteLLM (arXiv:2406.18665), there for preferences between two LLMs; a baseline of UniRoute
    (arXiv:2502.08773). The offset ``u_h`` of each LLM, the grid and the choice by area are ours.
    """

    name: ClassVar[str] = "matrix_factorization"
    title: ClassVar[str] = "Matrix factorisation, retrained"
    place: ClassVar[int] = 9
    grid = GRID


class ClairvoyantMatrixFactorization(ClairvoyantNetwork):
    """``MatrixFactorization`` trained with the unseen LLMs' outcomes on the training prompts: an upper reference.

    Source: UniRoute (arXiv:2502.08773), clairvoyant training.
    """

    name: ClassVar[str] = "clairvoyant_matrix_factorization"
    title: ClassVar[str] = "Matrix factorisation, clairvoyant"
    place: ClassVar[int] = 16
    grid = GRID._replace(num_steps=(20, 40, 80, 160))
