import itertools
import math

import pytest
import torch

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.consensus import consensus_error

FAILURE = torch.tensor([[0.1, 0.3, 0.4]])


def enumerate_error(answer: int, votes: list[int], failure: list[float], num_wrong: int) -> float:
    """The same by going through every answer that may be right."""
    names = {answer, *(vote for vote in votes if vote >= 0)}
    places = list(
        itertools.islice(itertools.chain(sorted(names), itertools.count(100)), max(num_wrong + 1, len(names)))
    )
    chance = [
        math.prod(
            1 - f if vote == right else f / num_wrong for vote, f in zip(votes, failure, strict=True) if vote >= 0
        )
        for right in places
    ]
    return 1 - chance[places.index(answer)] / sum(chance)


@pytest.mark.parametrize("num_wrong", [1, 3, 9])
@pytest.mark.parametrize("votes", [[0, 0, 0], [0, 1, 1], [1, 2, 0], [1, 2, 3], [-1, 1, -1], [-1, -1, -1], [5, 5, 0]])
def test_the_probability_is_that_of_bayes_over_all_answers(votes: list[int], num_wrong: int) -> None:
    found = consensus_error(torch.tensor([0]), torch.tensor([votes]), FAILURE, num_wrong)
    assert float(found) == pytest.approx(enumerate_error(0, votes, FAILURE[0].tolist(), num_wrong), abs=1e-6)


def test_an_able_llm_outvotes_two_weak_ones() -> None:
    failure = torch.tensor([[0.02, 0.6, 0.6]])
    answers = torch.tensor([[7, 4, 4]])
    assert consensus_error(torch.tensor([7]), answers, failure, 2) < 0.2
    assert consensus_error(torch.tensor([4]), answers, failure, 2) > 0.8


def test_certain_llms_do_not_break_it() -> None:
    failure = torch.tensor([[0.0, 1.0, 0.0]])
    found = consensus_error(torch.tensor([1]), torch.tensor([[1, 2, 2]]), failure, 3)
    assert 0 <= float(found) <= 1


def test_no_wrong_answer_at_all_is_refused() -> None:
    with pytest.raises(PoolError, match="num_wrong_answers"):
        consensus_error(torch.tensor([0]), torch.tensor([[0, 0, 0]]), FAILURE, 0)
