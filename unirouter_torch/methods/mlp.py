"""A multilayer perceptron with one output for each LLM, retrained at onboarding or clairvoyant."""

from typing import ClassVar

import torch

from unirouter_torch.methods.fitting import ClairvoyantNetwork, Grid, RetrainedNetwork

GRID = Grid(
    activation=torch.relu,
    learning_rate=0.003,
    num_hidden=(16, 64),
    weight_decay=(30.0, 100.0, 300.0),
    num_steps=(10, 20, 40, 80),
)


class MLP(RetrainedNetwork):
    """Estimates errors by a perceptron that is trained afresh on the calibration prompts.

    ``sigmoid(U relu(W x + w) + u)``, one output for each LLM, trained with cross-entropy. Width, weight decay and the
    number of steps are chosen by area on seen LLMs.

    Source: UniRoute (arXiv:2502.08773), multilayer perceptron baseline. Its size and training are not known to us:
    one hidden layer, the grid and the choice by area are ours.
    """

    name: ClassVar[str] = "mlp"
    title: ClassVar[str] = "MLP, retrained"
    place: ClassVar[int] = 8
    grid = GRID


class ClairvoyantMLP(ClairvoyantNetwork):
    """The perceptron of ``MLP``, trained with the unseen LLMs' outcomes on the training prompts: an upper reference.

    Source: UniRoute (arXiv:2502.08773), clairvoyant multilayer perceptron.
    """

    name: ClassVar[str] = "clairvoyant_mlp"
    title: ClassVar[str] = "MLP, clairvoyant"
    place: ClassVar[int] = 15
    grid = GRID._replace(num_steps=(20, 40, 80, 160))
