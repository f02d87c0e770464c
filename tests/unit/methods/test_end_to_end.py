"""The stages of the end-to-end router: what each adds, and what changes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_outcomes import outcomes, trial_of, tuning

from unirouter_torch.config.training import EpisodeConfig, HeadConfig, TrainConfig, TrainerConfig
from unirouter_torch.methods.end_to_end import DrawnEndToEnd, EndToEnd, FrozenEndToEnd
from unirouter_torch.methods.trial import Trial

CONFIG = TrainConfig(
    trainer=TrainerConfig(max_steps=20, validate_every=10),
    head=HeadConfig(num_clusters=4, sharpness=2.0),
    episodes=EpisodeConfig(num_targets=64),
)


def many_llms(log_folder: Path | None = None, held_out_fraction: float | None = None) -> Trial:
    episodes = CONFIG.episodes
    if held_out_fraction is not None:
        episodes = replace(episodes, held_out_fraction=held_out_fraction)
    how = tuning()._replace(validation=outcomes(1, num_llms=12), cost=torch.ones(12))
    config = replace(CONFIG, episodes=episodes)
    return trial_of(outcomes(0, num_llms=12), how, config, log_folder=log_folder)


def weights(trial: Trial) -> torch.Tensor:
    return torch.cat([part.detach().flatten() for part in trial.fitted(EndToEnd).head.parameters()])


@pytest.mark.parametrize("held_out_fraction", [None, 0.0, 0.3])
def test_head_is_the_same_with_and_without_logs(held_out_fraction: float | None, tmp_path: Path) -> None:
    logged = weights(many_llms(tmp_path / "logs", held_out_fraction))
    assert (tmp_path / "logs" / "metrics.csv").exists()
    assert torch.equal(logged, weights(many_llms(None, held_out_fraction)))


def test_every_seen_llm_trains_by_default_and_held_out_ones_do_not() -> None:
    assert torch.equal(weights(many_llms()), weights(many_llms(held_out_fraction=0.0)))
    assert not torch.equal(weights(many_llms()), weights(many_llms(held_out_fraction=0.3)))


def test_stages_of_a_frozen_router_with_drawn_prompts_are_one() -> None:
    trial = many_llms()
    methods = [trial.fitted(kind) for kind in (EndToEnd, DrawnEndToEnd, FrozenEndToEnd)]
    assert len({id(method.head) for method in methods}) == 1
    assert all(method.view(trial) is trial for method in methods)
    assert methods[0].describe() == methods[1].describe() == methods[2].describe()


def test_a_method_is_fitted_once_whoever_asks() -> None:
    trial = many_llms()
    assert trial.fitted(EndToEnd) is trial.fitted(EndToEnd)
    assert many_llms().fitted(EndToEnd) is not trial.fitted(EndToEnd)
