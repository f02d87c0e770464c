"""A calibration from its settings to its measurement: journal, budget, endpoints and grader put together."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from unirouter_torch.config.checks import at_least
from unirouter_torch.errors import ConfigError, EndpointError
from unirouter_torch.measurement.asking import Asker
from unirouter_torch.measurement.budget import Budget
from unirouter_torch.measurement.endpoint import JUDGE_KEY_VARIABLE, Client, Endpoint, usable_key
from unirouter_torch.measurement.grader import find_grader
from unirouter_torch.measurement.journal import Journal
from unirouter_torch.measurement.judge import DEFAULT_RUBRIC
from unirouter_torch.measurement.measure import (
    Grading,
    Measurement,
    Question,
    grading_by,
    grading_by_judge,
    measure,
)
from unirouter_torch.measurement.pace import Pace


@dataclass(frozen=True, kw_only=True)
class Judge:
    """An LLM that grades."""

    endpoint: Endpoint
    """Where it is asked."""
    rubric: str = DEFAULT_RUBRIC
    """How it is told to grade."""


@dataclass(frozen=True, kw_only=True)
class CalibrationPlan:
    """How an LLM is measured."""

    endpoint: Endpoint
    """Where it is asked."""
    grader: str
    """Name of a grader (:func:`~.grader.find_grader`), ``judge``, or ``module:function``."""
    journal: Path
    """File that keeps answers and dollars."""
    budget: float = 1.0
    """Most that all runs with this journal may spend, the judge included [US dollars]."""
    pace: Pace = field(default_factory=Pace)
    """How fast to ask; a judge is asked at the same pace."""
    tolerance: float = 1e-6
    """Of the grader ``number``."""
    judge: Judge | None = None
    """Of the grader ``judge``."""
    until_half_width: float | None = None
    """Ask no more once the 95% interval of the error reaches no further to either side; all prompts when not given."""

    def __post_init__(self) -> None:
        """Check that the grader can be had.

        Raises:
            ConfigError: It is unknown, or there is a judge without need or need without a judge.
        """
        at_least("tolerance", self.tolerance, 0)
        if self.until_half_width is not None and not 0 < self.until_half_width < 0.5:
            raise ConfigError(f"until_half_width: got {self.until_half_width}, expected more than 0 and less than 0.5.")
        if (self.grader == "judge") != (self.judge is not None):
            raise ConfigError("grader, judge: the grader `judge` and a judge go together. Give both or neither.")
        if self.grader != "judge":
            find_grader(self.grader)

    @property
    def needs_reference(self) -> bool:
        """Whether a prompt without a reference cannot be graded."""
        return self.grader != "judge" and find_grader(self.grader).needs_reference


def worst_case(questions: Sequence[Question], plan: CalibrationPlan) -> float:
    """Most that asking every question once can cost, without the judge [US dollars]."""
    return sum(plan.endpoint.worst_case(question.prompt)[1] for question in questions)


def run_plan(questions: Sequence[Question], plan: CalibrationPlan) -> Measurement:
    """Ask and grade; what was interrupted goes on, as answers come from the journal where it has them.

    Args:
        questions: What to ask, in this order.
        plan: How.

    Returns:
        Scores, answers, and what was left out and why.

    Raises:
        JournalError: The journal is damaged or in use.
        EndpointError: There is no key, or an endpoint cannot be used.
    """
    with Journal(plan.journal) as journal:
        return asyncio.run(_run(questions, plan, journal))


async def _run(questions: Sequence[Question], plan: CalibrationPlan, journal: Journal) -> Measurement:
    budget = Budget(plan.budget, journal.dollars)
    async with AsyncExitStack() as stack:

        async def asker(endpoint: Endpoint, api_key: str | None) -> Asker:
            client = await stack.enter_async_context(Client(endpoint, plan.pace.timeout_seconds, api_key))
            return Asker(endpoint, client, journal, budget, plan.pace)

        grading = _grading(plan, None if plan.judge is None else await asker(plan.judge.endpoint, _judge_key(plan)))
        return await measure(
            questions,
            await asker(plan.endpoint, None),
            grading,
            budget,
            concurrency=plan.pace.concurrency,
            until_half_width=plan.until_half_width,
        )


def _grading(plan: CalibrationPlan, judge: Asker | None) -> Grading:
    if plan.judge is not None and judge is not None:
        return grading_by_judge(judge, plan.judge.rubric)
    options = {"tolerance": plan.tolerance} if plan.grader == "number" else {}
    return grading_by(find_grader(plan.grader, **options))


def _judge_key(plan: CalibrationPlan) -> str | None:
    """The judge's own key; that of the LLM goes to the LLM's endpoint alone."""
    key = os.environ.get(JUDGE_KEY_VARIABLE)
    if key is None and plan.judge is not None and plan.judge.endpoint.base_url != plan.endpoint.base_url:
        raise EndpointError(
            f"{JUDGE_KEY_VARIABLE}: not set; the judge is on another endpoint than the LLM, which must not see the "
            "LLM's key. Set it, to any text for an endpoint that asks for no key."
        )
    return None if key is None else usable_key(JUDGE_KEY_VARIABLE, key)
