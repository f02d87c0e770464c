"""Prompts that wait to be embedded: clients take turns, and so do the requests of a client."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from unirouter_torch.router.chooser import Chooser
from unirouter_torch.router.route import Route
from unirouter_torch.shapes import ClusterProbability


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to choose; each as in :meth:`Router.route`, but names that the pool does not hold are passed over."""

    cost_weight: float | None = None
    latency_weight: float | None = None
    caution: float | None = None
    llms: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Where the prompts of one request go.

    Attributes:
        routes: One for each prompt, in order.
        chooser: What they were chosen by.
    """

    routes: list[Route]
    chooser: Chooser


@dataclass(kw_only=True, eq=False)
class Job:
    """The prompts of one request.

    Attributes:
        prompts: Texts, at least one.
        tokens: Their lengths, as ``count_tokens`` gives them [tokens].
        options: How to choose.
        done: Gets the decision. Who is not interested any more cancels it.
        since: When it came [seconds].
        num_taken: Prompts that left the queue.
        num_done: Prompts that were embedded.
        parts: Their cluster probabilities, in order.
    """

    prompts: Sequence[str]
    tokens: Float[Tensor, " prompt"]
    options: Options
    done: asyncio.Future[Decision]
    since: float
    num_taken: int = 0
    num_done: int = 0
    parts: list[ClusterProbability] = field(default_factory=list)


class PromptQueue:
    """Jobs by client; what is taken is one prompt of each client in turn, and of its jobs in turn.

    Args:
        most_characters: Characters of a prompt that are tokenized; the rest takes no time.
    """

    def __init__(self, most_characters: int) -> None:
        self._most_characters = most_characters
        self._turns: dict[str, deque[Job]] = {}

    def __bool__(self) -> bool:
        return bool(self._turns)

    def add(self, client: str, job: Job) -> None:
        """Put a job at the end of those of its client."""
        self._turns.setdefault(client, deque()).append(job)

    def restart(self, most_characters: int) -> None:
        """Begin anew with all jobs that wait, for another router.

        Args:
            most_characters: As above, of that router.
        """
        self._most_characters = most_characters
        for jobs in self._turns.values():
            for job in jobs:
                job.num_taken = job.num_done = 0
                job.parts.clear()

    def take(self, most_prompts: int, most_characters: int) -> dict[Job, list[str]]:
        """The next prompts of each job whose turn it is; jobs that are done already, as cancelled ones, are dropped.

        Args:
            most_prompts: How many to take, at least 1.
            most_characters: What is tokenized of them [characters], unless it is a single prompt.
        """
        taken: dict[Job, list[str]] = {}
        num_prompts = characters = 0
        while self._turns and num_prompts < most_prompts:
            client, jobs = next(iter(self._turns.items()))
            job = jobs[0]
            if not job.done.done():
                prompt = job.prompts[job.num_taken]
                size = min(len(prompt), self._most_characters)
                if taken and characters + size > most_characters:
                    break
                taken.setdefault(job, []).append(prompt)
                num_prompts, characters = num_prompts + 1, characters + size
                job.num_taken += 1
                if job.num_taken < len(job.prompts):
                    jobs.append(job)
            jobs.popleft()
            del self._turns[client]
            if jobs:
                self._turns[client] = jobs
        return taken
