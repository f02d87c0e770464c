import copy
import math
from pathlib import Path

import pytest
import torch
from small_router import KINDS, PROMPTS, SCORES, small_router

from unirouter_torch.errors import PoolError
from unirouter_torch.router.router import Router

NEW = ["the otter hums", "a red clock", "harbour of kites", "nobody sings"]


@pytest.fixture(params=KINDS)
def router(request: pytest.FixtureRequest, tmp_path: Path) -> Router:
    return small_router(tmp_path / request.param, save_encoder=KINDS[request.param])


def test_feedback_on_calibration_prompts_counts_like_calibration_outcomes(router: Router) -> None:
    router.add_llm("whole", SCORES["small"], 1.0)
    router.add_llm("parts", {"p0": 1.0}, 1.0)
    rest = [name for name in SCORES["small"] if name != "p0"]
    router.observe("parts", [PROMPTS[name] for name in rest], [SCORES["small"][name] for name in rest])
    whole, parts = router.pool.find("whole"), router.pool.find("parts")
    assert torch.allclose(router.pool.sums.error[whole], router.pool.sums.error[parts], atol=1e-5)
    assert torch.allclose(router.pool.sums.weight[whole], router.pool.sums.weight[parts], atol=1e-5)


def test_order_is_of_no_matter_and_others_are_left_alone(router: Router) -> None:
    before, other = router.pool, copy.deepcopy(router)
    router.observe("large", NEW, [1.0, 0.0, 0.5, 1.0])
    for row in (2, 0, 3, 1):
        other.observe("large", [NEW[row]], [[1.0, 0.0, 0.5, 1.0][row]])
    row = before.find("large")
    assert torch.allclose(router.pool.sums.error, other.pool.sums.error, atol=1e-5)
    assert not torch.allclose(router.pool.sums.error[row], before.sums.error[row], atol=1e-3)
    rest = [place for place in range(len(before.names)) if place != row]
    assert torch.equal(router.pool.sums.error[rest], before.sums.error[rest])
    assert [llm.name for llm in router.pool.llms if llm.drift] == ["large"]


def test_the_alarm_compares_with_what_was_estimated_at_the_start(router: Router) -> None:
    prompts = [NEW[0]] * 30
    score = float(router.estimate_error(prompts[:1])[0, router.pool.find("large")] > 0.5)
    for _ in range(3):
        test = router.observe("large", prompts, [score] * 30, half_life=5.0)
    assert test.has_drifted
    assert test.num_prompts == 90
    assert test.is_worse == (score == 0)


def test_drift_is_saved_renamed_and_forgotten_with_the_llm(router: Router, tmp_path: Path) -> None:
    router.save_pretrained(tmp_path / "router")
    router.observe("large", NEW, [0.0, 0.0, 1.0, 0.25])
    router.observe("other", NEW[:1], [1.0])
    router.pool = router.pool.with_changes("large", name="huge")
    router.save_pool("observe")
    loaded = Router.from_pretrained(tmp_path / "router")
    assert {llm.name for llm in loaded.pool.llms if llm.drift} == {"huge", "other"}
    mine, theirs = router.pool["huge"].drift, loaded.pool["huge"].drift
    assert torch.equal(mine.wealth, theirs.wealth)
    assert torch.equal(mine.reference.error, theirs.reference.error)
    assert (mine.num_prompts, mine.most_evidence) == (theirs.num_prompts, theirs.most_evidence)
    goes_on = [one.observe("huge", NEW, [1.0, 1.0, 1.0, 1.0]).most_evidence for one in (router, loaded)]
    assert goes_on[0] == goes_on[1]
    assert [llm.name for llm in loaded.pool.without_llm("huge").llms if llm.drift] == ["other"]
    loaded.undo_pool()
    assert not any(llm.drift for llm in loaded.pool.llms)


@pytest.mark.parametrize(
    ("name", "scores", "half_life", "expected"),
    [
        ("nobody", [1.0], math.inf, "no LLM named 'nobody'"),
        ("large", [1.0, 0.0], math.inf, "got 2 for 1 prompts"),
        ("large", [1.5], math.inf, "got 1.5"),
        ("large", [math.nan], math.inf, "got nan"),
        ("large", [1.0], 0.0, "half_life"),
    ],
)
def test_mistakes_change_nothing(
    router: Router, name: str, scores: list[float], half_life: float, expected: str
) -> None:
    before = router.pool
    with pytest.raises(PoolError, match=expected):
        router.observe(name, NEW[:1], scores, half_life=half_life)
    assert router.pool is before


def test_the_difficulty_of_calibration_prompts_is_saved_and_serves_wrong_labels(router: Router, tmp_path: Path) -> None:
    router.save_pretrained(tmp_path / "router")
    loaded = Router.from_pretrained(tmp_path / "router")
    assert loaded.calibration.difficulty is not None
    # all LLMs succeed on p0 and most fail on p2
    assert loaded.calibration.difficulty.difficulty[0] < loaded.calibration.difficulty.difficulty[2]
    for number, flip_rate in enumerate((0.0, 0.2, None)):
        for one in (router, loaded):
            one.add_llm(f"new {number}", {"p0": 0.0, "p2": 1.0}, 1.0, flip_rate=flip_rate)
    assert torch.equal(router.pool.sums.error, loaded.pool.sums.error)
    plain, corrected = router.pool.find("new 0"), router.pool.find("new 1")
    assert torch.equal(router.pool.sums.weight[plain], router.pool.sums.weight[corrected])
    assert not torch.allclose(router.pool.sums.error[plain], router.pool.sums.error[corrected], atol=0.01)


def test_a_router_without_difficulties_refuses_a_flip_rate(router: Router) -> None:
    router.calibration = type(router.calibration)(
        prompt_ids=router.calibration.prompt_ids,
        texts=router.calibration.texts,
        cluster_probability=router.calibration.cluster_probability,
    )
    router.add_llm("plain", SCORES["small"], 1.0)
    with pytest.raises(PoolError, match="does not know how hard"):
        router.add_llm("new", SCORES["small"], 1.0, flip_rate=0.1)
