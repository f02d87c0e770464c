"""The end-to-end router with more labels: what they change, and what they do not."""

import torch
from made_outcomes import outcomes, trial_of, tuning

from unirouter_torch.config.training import EpisodeConfig, HeadConfig, TrainConfig, TrainerConfig
from unirouter_torch.methods.clairvoyant_end_to_end import ClairvoyantEndToEnd
from unirouter_torch.methods.end_to_end import EndToEnd, FrozenEndToEnd
from unirouter_torch.routing.outcomes import Outcomes

CONFIG = TrainConfig(
    trainer=TrainerConfig(max_steps=40, validate_every=20),
    head=HeadConfig(num_clusters=4, sharpness=2.0),
    episodes=EpisodeConfig(num_targets=64),
)


def fitted(clairvoyant: Outcomes) -> ClairvoyantEndToEnd:
    return trial_of(outcomes(0), tuning(), CONFIG, clairvoyant=clairvoyant).fitted(ClairvoyantEndToEnd)


def plain() -> EndToEnd:
    return trial_of(outcomes(0), tuning(), CONFIG).fitted(EndToEnd)


def test_without_a_further_outcome_it_is_the_router() -> None:
    nothing = outcomes(4)._replace(observed=torch.zeros_like(outcomes(4).observed))
    calibration = outcomes(2, 10)
    assert torch.allclose(fitted(nothing).represent(calibration), plain().represent(calibration), atol=1e-6)


def test_further_outcomes_count_as_calibration_outcomes_do() -> None:
    calibration, further = outcomes(2, 10), outcomes(4, 30)
    both = Outcomes(*(torch.cat(pair) for pair in zip(calibration, further, strict=True)))
    assert torch.allclose(fitted(further).represent(calibration), plain().represent(both), atol=1e-6)


def test_head_does_not_see_the_further_outcomes() -> None:
    test, features = outcomes(3), torch.rand(5, 4)
    inverted = outcomes(4)._replace(error=1 - outcomes(4).error)
    same = (fitted(part).estimate_error(test.embedding, features) for part in (outcomes(4), inverted))
    assert torch.equal(*same)


def test_more_labels_bring_it_nearer_to_the_truth() -> None:
    calibration, test = outcomes(2, 4), outcomes(3, 200)

    def squared_error(method: EndToEnd | ClairvoyantEndToEnd) -> float:
        estimate = method.estimate_error(test.embedding, method.represent(calibration))
        return float((estimate - test.error).square().mean())

    assert squared_error(fitted(outcomes(4, 120))) < 0.9 * squared_error(plain())


def test_head_of_the_end_to_end_router_is_trained_once() -> None:
    trial = trial_of(outcomes(0), tuning(), CONFIG)
    clairvoyant, router = trial.fitted(ClairvoyantEndToEnd), trial.fitted(EndToEnd)
    trained = [method for method in trial.fitted_methods.values() if isinstance(method, FrozenEndToEnd)]
    assert [method.head for method in trained] == [router.head]
    assert clairvoyant.describe() == router.describe()
