"""Several processes compute what one computes; they meet on the loopback device and end by themselves."""

import multiprocessing
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.training.device_group import ALONE, DeviceGroup
from unirouter_torch.training.objective import EpisodeOutcomes, cross_entropy, estimate_targets

SECONDS_TO_WAIT = 300
NUM_CALIBRATION, NUM_TARGETS = 13, 3


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def work(function: Callable[[DeviceGroup], object], rank: int, size: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    limit = timedelta(seconds=SECONDS_TO_WAIT)
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=size, timeout=limit)
    torch.save(function(DeviceGroup.current()), folder / f"{rank}.pt")
    distributed.destroy_process_group()


def in_processes(function: Callable[[DeviceGroup], object], size: int, folder: Path) -> list:
    """What a function returns in each of several workers."""
    context, port = multiprocessing.get_context("spawn"), free_port()
    processes = [context.Process(target=work, args=(function, rank, size, port, folder)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS_TO_WAIT)
    assert [process.exitcode for process in processes] == [0] * size
    return [torch.load(folder / f"{rank}.pt") for rank in range(size)]


class Step(torch.nn.Module):
    """One training step from raw embeddings, in float64 so that only a wrong formula shows."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.encoder = torch.nn.Linear(5, 6).double()
        self.head = ClusterHead(6, 4).double()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        num_prompts = NUM_CALIBRATION + NUM_TARGETS
        self.inputs = torch.randn(num_prompts, 5, generator=generator, dtype=torch.float64)
        self.error = torch.rand(num_prompts, 3, generator=generator, dtype=torch.float64)
        self.observed = torch.rand(num_prompts, 3, generator=generator) < 0.7

    def outcomes(self, prompts: torch.Tensor) -> Outcomes:
        return Outcomes(self.encoder(self.inputs[prompts]), self.error[prompts], self.observed[prompts])

    def forward(self, workers: DeviceGroup) -> torch.Tensor:
        prompts = torch.arange(NUM_CALIBRATION + NUM_TARGETS)
        episode = EpisodeOutcomes(
            self.outcomes(workers.part(prompts[:NUM_CALIBRATION])),
            self.outcomes(workers.part(prompts[NUM_CALIBRATION:])),
        )
        estimated = estimate_targets(self.head, episode, workers)
        return cross_entropy(estimated, episode.target.error, episode.target.observed, workers)


def loss_and_gradients(workers: DeviceGroup) -> dict[str, torch.Tensor]:
    step = Step()
    model = step if workers.size == 1 else DistributedDataParallel(step)
    loss = model(workers)
    loss.backward()
    return {"loss": loss.detach()} | {name: value.grad for name, value in step.named_parameters()}


@pytest.mark.parametrize("size", [2, 4])
def test_loss_and_gradients_are_those_of_one_process(size: int, tmp_path: Path) -> None:
    expected = loss_and_gradients(ALONE)
    assert all(value.abs().max() > 1e-4 for value in expected.values())
    for found in in_processes(loss_and_gradients, size, tmp_path):
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)


def meet(workers: DeviceGroup) -> tuple[list[int], torch.Tensor, bool, bool]:
    prompts = torch.arange(10, 17)
    own = workers.part(prompts)
    joined = workers.join(own[:, None].float(), len(prompts))
    return own.tolist(), joined, workers.any(workers.rank == 1), workers.any(False)


def test_workers_share_out_prompts_join_rows_and_agree(tmp_path: Path) -> None:
    found = in_processes(meet, 2, tmp_path)
    assert [own for own, *_ in found] == [[10, 12, 14, 16], [11, 13, 15]]
    for _, joined, one_asked, none_asked in found:
        assert joined[:, 0].tolist() == list(range(10, 17))
        assert one_asked is True
        assert none_asked is False
    assert meet(ALONE)[0] == list(range(10, 17))
    assert meet(ALONE)[2] is False
