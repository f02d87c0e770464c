"""Ask an LLM the calibration prompts and grade its answers."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import median
from typing import NamedTuple, TypeAlias

from unirouter_torch.errors import EndpointError, MeasurementError
from unirouter_torch.measurement.asking import Answer, Asker, UnansweredError
from unirouter_torch.measurement.budget import Budget, BudgetSpentError
from unirouter_torch.measurement.grader import Grader, UngradedError, checked_score
from unirouter_torch.measurement.judge import judge_message, read_judgement
from unirouter_torch.measurement.reply import shortened
from unirouter_torch.messages import final_answer
from unirouter_torch.progress import ProgressBar

Z_95 = 1.959964
MOST_UNUSABLE = 10
"""So many replies of a judge in a row without a score mean that it does not do what it is asked."""
LEAST_GRADED = 0.5
"""Share of the prompts asked that must have a score for an LLM to be represented by them."""


class Question(NamedTuple):
    """A calibration prompt.

    Attributes:
        prompt_id: Its identifier.
        prompt: Its text.
        reference: What its answer is graded by; empty where nothing is known.
    """

    prompt_id: str
    prompt: str
    reference: str


Grading: TypeAlias = Callable[[Question, str], Awaitable[float]]
"""The score of an answer in [0, 1]; raises UngradedError, or what an asker raises."""


@dataclass
class Measurement:
    """What was learned of an LLM.

    Attributes:
        scores: Score in [0, 1] of each graded prompt, by prompt id.
        answers: Every answer, by prompt id, graded or not.
        left_out: Why each prompt that was asked has no score, by prompt id.
        unfinished: Identifiers of the prompts whose answer is empty: it ends within the reasoning, or says nothing.
    """

    scores: dict[str, float] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)

    @property
    def reasons(self) -> Counter[str]:
        """How many prompts were left out for each reason."""
        return Counter(self.left_out.values())

    @property
    def mean_dollars(self) -> float:
        """Mean cost of an answer [US dollars]; 0 without any."""
        dollars = [answer.dollars for answer in self.answers.values()]
        return sum(dollars) / len(dollars) if dollars else 0.0

    @property
    def median_seconds(self) -> float | None:
        """Median time of a call that was answered [seconds]; None where no time is known."""
        seconds = [answer.seconds for answer in self.answers.values() if answer.seconds is not None]
        return median(seconds) if seconds else None

    @property
    def answer_tokens(self) -> dict[str, float]:
        """Length of each answer [tokens], by prompt id, where the endpoint reported it."""
        lengths = {prompt_id: answer.answer_tokens for prompt_id, answer in self.answers.items()}
        return {prompt_id: float(length) for prompt_id, length in lengths.items() if length is not None}

    def check(self) -> None:
        """Check that enough prompts have a score.

        Raises:
            MeasurementError: Fewer than half of those asked have one.
        """
        asked = len(self.scores) + len(self.left_out)
        if not self.scores or len(self.scores) < LEAST_GRADED * asked:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in self.reasons.most_common(5))
            raise MeasurementError(
                f"only {len(self.scores)} of {asked} prompts have a score, expected at least half. Left out: {reasons}."
                " What was answered is kept: fix the cause and give the same command again."
            )

    @property
    def error(self) -> tuple[float, float, float]:
        """Mean error, and the ends of its 95% interval."""
        return wilson_interval([1 - score for score in self.scores.values()])


def wilson_interval(errors: Sequence[float]) -> tuple[float, float, float]:
    """Mean of errors in [0, 1] with the ends of Wilson's 95% interval; (0.5, 0, 1) of none.

    For right-or-wrong errors it is Wilson's score interval. Graded errors of the same mean vary less than that, so for
    them it is too wide rather than too narrow.

    Source: Wilson (1927), doi:10.1080/01621459.1927.10502953.
    """
    count = len(errors)
    if count == 0:
        return 0.5, 0.0, 1.0
    mean, shrink = sum(errors) / count, 1 + Z_95**2 / count
    centre = (mean + Z_95**2 / (2 * count)) / shrink
    half = Z_95 / shrink * sqrt(mean * (1 - mean) / count + Z_95**2 / (4 * count**2))
    return mean, max(0.0, centre - half), min(1.0, centre + half)


def is_certain(scores: Sequence[float], half_width: float | None) -> bool:
    """Whether the 95% interval of the mean error reaches no further than ``half_width`` to either side of its middle.

    Always false without a half width.
    """
    _, low, high = wilson_interval([1 - score for score in scores])
    return half_width is not None and (high - low) / 2 <= half_width


def in_random_order(questions: Sequence[Question]) -> list[Question]:
    """The questions in an order that depends on their ids alone, so that any number of them is a fair sample."""
    return sorted(questions, key=lambda question: hashlib.sha256(question.prompt_id.encode()).digest())


def grading_by(grader: Grader) -> Grading:
    """Grade by a grader, in a thread; whatever it raises leaves the prompt ungraded."""

    async def grade(question: Question, answer: str) -> float:
        try:
            score = await asyncio.to_thread(grader.grade, question.prompt, answer, question.reference)
        except UngradedError:
            raise
        except Exception as error:
            raise UngradedError(f"the grader raised {type(error).__name__}") from None
        return checked_score(score)

    return grade


def grading_by_judge(judge: Asker, rubric: str) -> Grading:
    """Grade by another LLM; a reply without a score leaves the prompt ungraded, ten of them in a row end the run."""
    num_unusable = 0

    async def grade(question: Question, answer: str) -> float:
        nonlocal num_unusable
        message = judge_message(question.prompt, answer, question.reference, rubric)
        try:
            reply = await judge.ask(f"judgement {question.prompt_id}", message)
        except UnansweredError as error:
            raise UngradedError(f"judge: {error}") from None
        try:
            score = read_judgement(reply.text)
        except UngradedError as error:
            num_unusable += 1
            if num_unusable < MOST_UNUSABLE:
                raise
            raise EndpointError(
                f"the judge gave {num_unusable} replies in a row without a score, the last one as {error}: "
                f"{shortened(reply.text) or 'an empty reply'!r}. Let it say more by judge_max_tokens, correct the "
                "rubric, or choose another judge; what was answered is kept."
            ) from None
        num_unusable = 0
        return score

    return grade


async def measure(
    questions: Sequence[Question],
    asker: Asker,
    grading: Grading,
    budget: Budget,
    *,
    concurrency: int,
    until_half_width: float | None = None,
) -> Measurement:
    """Ask every question and grade the answers, several at one time.

    Args:
        questions: What to ask, in this order.
        asker: Asks the LLM.
        grading: Grades an answer.
        budget: What the asker, and a judge, spend from; shown on the progress bar.
        concurrency: Questions on their way at one time.
        until_half_width: Ask no more once the 95% interval of the mean error is this narrow.

    Returns:
        Scores, answers, and what was left out. Questions that were never asked are in none of them.

    Raises:
        EndpointError: No call can succeed.
    """
    found, waiting = Measurement(), iter(questions)
    bar = ProgressBar("Calibration prompts", len(questions))

    async def work() -> None:
        for question in waiting:
            await _measure_one(question, asker, grading, found)
            done = len(found.scores) + len(found.left_out)
            bar.advance(dollars=budget.spent, expected=budget.spent / done * len(questions))
            if is_certain(list(found.scores.values()), until_half_width):
                return

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(questions))):
                group.create_task(work())
    except* Exception as errors:
        raise errors.exceptions[0] from None
    finally:
        bar.close()
    return found


async def _measure_one(question: Question, asker: Asker, grading: Grading, found: Measurement) -> None:
    try:
        answer = await asker.ask(f"answer {question.prompt_id}", question.prompt)
        found.answers[question.prompt_id] = answer
        if answer.finish_reason == "content_filter":
            raise UnansweredError("content filter")
        final = final_answer(answer.text)
        if not final.text.strip():
            found.unfinished.add(question.prompt_id)
        found.scores[question.prompt_id] = await grading(question, final.text)
    except BudgetSpentError:
        found.left_out[question.prompt_id] = "budget spent"
    except (UnansweredError, UngradedError) as error:
        found.left_out[question.prompt_id] = str(error)
