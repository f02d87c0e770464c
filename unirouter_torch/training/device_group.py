"""The processes, one for each device, that train together, and what they add up."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from unirouter_torch.shapes import PromptSubset


class DeviceGroup(NamedTuple):
    """The workers of a training: processes with one device each, which share out the prompts of every episode.

    Attributes:
        rank: Number of this worker; the first one, 0, writes what the run leaves.
        size: Number of workers.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "DeviceGroup":
        """The workers that this process belongs to; it alone where none were started."""
        if not distributed.is_initialized():
            return ALONE
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this worker writes what the run leaves."""
        return self.rank == 0

    def part(self, prompts: PromptSubset) -> PromptSubset:
        """This worker's share of some prompts; the shares of all workers are disjoint and differ by one at most."""
        return prompts[self.rank :: self.size]

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over the workers, differentiable.

        The gradient is that of the sum of all workers' losses. Where each of them has the loss of the whole episode,
        and gradients are averaged over the workers as DDP does, parameters get the gradient that one worker with all
        prompts would give them.
        """
        if self.size == 1:
            return tensor
        summed: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
        return summed

    def join(self, rows: Tensor, num_rows: int) -> Tensor:
        """Rows that belong to the workers' shares of some prompts, in the order of the prompts and without gradients.

        Args:
            rows: One row for each prompt of this worker's :meth:`part`.
            num_rows: Number of all prompts.
        """
        rows = rows.detach()
        if self.size == 1:
            return rows
        joined = rows.new_zeros(num_rows, *rows.shape[1:])
        joined[self.rank :: self.size] = rows
        distributed.all_reduce(joined)
        return joined

    def any(self, flag: bool) -> bool:
        """Whether the flag is set at a worker."""
        return self.most(int(flag)) > 0

    def most(self, number: int) -> int:
        """The largest of the workers' numbers."""
        if self.size == 1:
            return number
        found = torch.tensor(number)
        distributed.all_reduce(found, op=distributed.ReduceOp.MAX)
        return int(found)

    @contextmanager
    def first_then_others(self) -> Iterator[None]:
        """Let the first worker go through a block before the others, which find in files what it has computed."""
        if self.size > 1 and not self.is_first:
            distributed.barrier()
        yield
        if self.size > 1 and self.is_first:
            distributed.barrier()


ALONE = DeviceGroup()
"""A process that trains by itself."""


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        del ctx
        summed = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        return _Sum.forward(None, gradient)
