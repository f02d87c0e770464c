import torch
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.routing.cluster_error import ClusterSums, cluster_error, overall_error, sum_by_cluster


def random_calibration(seed: int, num_prompts: int = 30, num_llms: int = 4, num_clusters: int = 3):
    generator = torch.Generator().manual_seed(seed)
    probability = torch.rand(num_prompts, num_clusters, generator=generator, dtype=torch.float64).softmax(-1)
    error = torch.rand(num_prompts, num_llms, generator=generator, dtype=torch.float64)
    observed = torch.rand(num_prompts, num_llms, generator=generator) < 0.7
    observed[0] = True
    return probability, error, observed


seeds = st.integers(0, 10_000)
shrinkages = st.floats(0, 50)


@given(seeds, shrinkages)
def test_cluster_error_equals_the_formula_written_as_loops(seed: int, shrinkage: float) -> None:
    probability, error, observed = random_calibration(seed)
    found = cluster_error(sum_by_cluster(probability, error, observed), shrinkage)
    for llm in range(error.shape[1]):
        rows = [j for j in range(len(error)) if observed[j, llm]]
        overall = sum(error[j, llm].item() for j in rows) / len(rows)
        for cluster in range(probability.shape[1]):
            weight = sum(probability[j, cluster].item() for j in rows)
            weighted = sum(probability[j, cluster].item() * error[j, llm].item() for j in rows)
            expected = (weighted + shrinkage * overall) / (weight + shrinkage)
            assert abs(found[llm, cluster].item() - expected) < 1e-12


@given(seeds, shrinkages)
def test_cluster_error_lies_in_the_unit_interval(seed: int, shrinkage: float) -> None:
    found = cluster_error(sum_by_cluster(*random_calibration(seed)), shrinkage)
    assert ((found >= 0) & (found <= 1)).all()


@given(seeds, st.integers(1, 29))
def test_sums_of_parts_add_up_to_the_sums_of_the_whole(seed: int, cut: int) -> None:
    probability, error, observed = random_calibration(seed)
    whole = sum_by_cluster(probability, error, observed)
    left = sum_by_cluster(probability[:cut], error[:cut], observed[:cut])
    right = sum_by_cluster(probability[cut:], error[cut:], observed[cut:])
    torch.testing.assert_close(left.error + right.error, whole.error)
    torch.testing.assert_close(left.weight + right.weight, whole.weight)


@given(seeds)
def test_duplicating_all_calibration_prompts_changes_nothing_without_shrinkage(seed: int) -> None:
    once = random_calibration(seed)
    twice = [torch.cat([tensor, tensor]) for tensor in once]
    torch.testing.assert_close(cluster_error(sum_by_cluster(*once), 0.0), cluster_error(sum_by_cluster(*twice), 0.0))


@given(seeds)
def test_unobserved_errors_do_not_matter(seed: int) -> None:
    probability, error, observed = random_calibration(seed)
    other = torch.where(observed, error, 1 - error)
    torch.testing.assert_close(
        sum_by_cluster(probability, error, observed).error, sum_by_cluster(probability, other, observed).error
    )


def test_strong_shrinkage_gives_the_overall_error() -> None:
    sums = sum_by_cluster(*random_calibration(0))
    torch.testing.assert_close(cluster_error(sums, 1e12), overall_error(sums)[:, None].expand(-1, 3), atol=1e-9, rtol=0)


def test_empty_cluster_takes_the_overall_error() -> None:
    probability = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    sums = sum_by_cluster(probability, torch.tensor([[1.0], [0.0]]), torch.ones(2, 1, dtype=torch.bool))
    assert cluster_error(sums, 0.0).tolist() == [[0.5, 0.5]]


def test_llm_without_outcomes_takes_one_half() -> None:
    sums = ClusterSums(torch.zeros(1, 3), torch.zeros(1, 3))
    assert cluster_error(sums, 0.0).tolist() == [[0.5, 0.5, 0.5]]
    assert cluster_error(sums, 5.0).tolist() == [[0.5, 0.5, 0.5]]


def test_gradient_reaches_probabilities_and_shrinkage() -> None:
    probability, error, observed = random_calibration(3)
    logits = probability.log().requires_grad_()
    log_shrinkage = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def psi(logits: torch.Tensor, log_shrinkage: torch.Tensor) -> torch.Tensor:
        return cluster_error(sum_by_cluster(logits.softmax(-1), error, observed), log_shrinkage.exp())

    assert torch.autograd.gradcheck(psi, (logits, log_shrinkage))
