import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.routing.decision import CostByLength, choose_llm, choose_llms
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.pooled_llm import PooledLLM
from unirouter_torch.routing.token_cost import TokenCost, sum_tokens

PROBABILITY = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]])
TOKENS = torch.tensor([100.0, 300.0, torch.nan])
COUNTED = torch.tensor([True, True, False])


def token_cost(price_in: float = 0.25, price_out: float = 0.5) -> TokenCost:
    return sum_tokens(PROBABILITY, TOKENS, COUNTED, price_in=price_in, price_out=price_out)


def pool() -> LLMPool:
    sums = ClusterSums(torch.tensor([[0.1, 0.9], [0.4, 0.4]]), torch.ones(2, 2))
    flat = PooledLLM(name="flat", cost=7.0, sums=ClusterSums(*(part[:1] for part in sums)))
    answers = ClusterSums(*(part[1:] for part in sums))
    metered = PooledLLM(name="metered", cost=3.0, sums=answers, token_cost=token_cost())
    return LLMPool.empty(2).with_llm(flat).with_llm(metered)


def test_sums_are_those_of_the_counted_answers_and_merge() -> None:
    whole = token_cost()
    assert whole.token_sum.tolist() == [75 + 150, 25 + 150] and whole.weight_sum.tolist() == [1.25, 0.75]
    parts = [
        sum_tokens(
            PROBABILITY[row : row + 1], TOKENS[row : row + 1], COUNTED[row : row + 1], price_in=0.0, price_out=0.0
        )
        for row in range(2)
    ]
    torch.testing.assert_close(whole.token_sum, parts[0].token_sum + parts[1].token_sum)


def test_expected_length_lies_between_the_mean_of_the_cluster_and_that_of_all() -> None:
    mean = 200.0
    tokens = token_cost().output_tokens(2.0)
    torch.testing.assert_close(tokens, torch.tensor([(225 + 2 * mean) / 3.25, (175 + 2 * mean) / 2.75]))
    torch.testing.assert_close(token_cost().output_tokens(1e9), torch.tensor([mean, mean]))


def test_cost_of_a_prompt_is_the_call_its_tokens_and_the_expected_answer() -> None:
    probability, tokens = torch.tensor([[0.2, 0.8], [1.0, 0.0]]), torch.tensor([10.0, 1000.0], dtype=torch.float64)
    cost = pool().prompt_cost(PROBABILITY.mean(0), 40.0, 2.0).of_prompts(probability, tokens)
    answer = probability @ token_cost().output_tokens(2.0)
    expected = 3.0 + 0.25 * tokens + 0.5 * answer
    torch.testing.assert_close(cost[:, 1], expected, check_dtype=False, rtol=1e-6, atol=1e-4)
    assert cost[:, 0].tolist() == [7.0, 7.0]


def test_typical_cost_is_the_mean_over_the_calibration_prompts() -> None:
    tokens = torch.tensor([10.0, 20.0, 90.0], dtype=torch.float64)
    found = pool().prompt_cost(PROBABILITY.mean(0), 40.0, 2.0)
    torch.testing.assert_close(found.of_prompts(PROBABILITY, tokens).mean(0), found.typical, rtol=1e-6, atol=1e-4)


def test_flat_pool_adds_nothing_at_all() -> None:
    found = pool().select(["flat"]).prompt_cost(PROBABILITY.mean(0), 40.0, 2.0)
    assert found.typical.tolist() == [7.0] and not found.by_cluster.any() and not found.by_token.any()


@given(st.integers(0, 1000), st.floats(0.0, 3.0), st.integers(1, 9))
def test_choice_by_length_is_that_from_the_whole_cost(seed: int, weight: float, num_llms: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    probability, features = draw(12, 3).softmax(-1), draw(num_llms, 3)
    cost, beyond, price = draw(num_llms), draw(12) - 0.5, draw(num_llms)
    found = choose_llms(probability, features, cost, weight, by_length=CostByLength(beyond, price))
    total = probability @ features.T + weight * (cost + beyond[:, None] * price)
    torch.testing.assert_close(total.gather(1, found[:, None])[:, 0], total.amin(-1), rtol=0, atol=1e-12)
    plain = choose_llms(probability, features, cost, weight, by_length=CostByLength(beyond, 0 * price))
    assert torch.equal(plain, choose_llm(probability @ features.T, cost, weight))


def test_metered_llm_keeps_its_prices_when_others_come_and_go() -> None:
    changed = pool().with_changes("metered", name="m").without_llm("flat")
    assert changed.names == ("m",) and changed["m"].token_cost is not None
    assert torch.equal(changed["m"].token_cost.token_sum, token_cost().token_sum)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: token_cost(price_in=-1.0), "price_in: got -1"),
        (lambda: token_cost(price_out=float("nan")), "price_out: got nan"),
        (
            lambda: sum_tokens(PROBABILITY, TOKENS, ~COUNTED & COUNTED, price_in=1.0, price_out=1.0),
            "no calibration prompt",
        ),
    ],
)
def test_prices_that_make_no_sense_are_refused(change, message: str) -> None:
    with pytest.raises(PoolError, match=message):
        change()
