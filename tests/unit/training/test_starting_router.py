"""Training that starts from a trained router: what is taken over, and what does not fit."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_encoder
import torch
from made_outcomes import outcomes, trial_of, tuning

from unirouter_torch.config.router import EncoderConfig, HeadConfig
from unirouter_torch.config.training import EpisodeConfig, EvaluationConfig, SweepConfig, TrainConfig, TrainerConfig
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import ArtifactError, ConfigError
from unirouter_torch.experiments.embedded_table import load_encoder
from unirouter_torch.methods.end_to_end import EndToEnd
from unirouter_torch.router.calibration import CalibrationPrompts
from unirouter_torch.router.router import Router
from unirouter_torch.router.router_files import read_head
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.storage import read_tensors
from unirouter_torch.training.starting_router import digest_of_start, read_starting_router

PROMPTS = ["the otter sings", "why does the clock sing"]


def trained_head(dim: int) -> ClusterHead:
    head = ClusterHead(dim, 3)
    with torch.no_grad():
        head.difficulty.copy_(torch.tensor([0.5, -1.0, 0.25]))
        head.log_shrinkage.fill_(1.5)
    return head


def save_router(folder: Path, encoder: PromptEncoder, *, dim: int = tiny_encoder.DIM, with_encoder: bool) -> str:
    Router(
        encoder=encoder,
        head=trained_head(dim),
        pool=LLMPool.empty(3),
        calibration=CalibrationPrompts(prompt_ids=(), texts=(), cluster_probability=torch.zeros(0, 3)),
        about={},
    ).save_pretrained(folder, with_encoder=with_encoder)
    return str(folder)


def starting(router: str, **encoder: object) -> TrainConfig:
    return TrainConfig(
        head=HeadConfig(num_clusters=3, start_from=router),
        encoder=EncoderConfig(**encoder),
        episodes=EpisodeConfig(num_targets=64),
        trainer=TrainerConfig(max_steps=4, validate_every=2),
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> PromptEncoder:
    return PromptEncoder.from_pretrained(str(tiny_encoder.save_bert(tmp_path_factory.mktemp("encoder") / "bert")))


@pytest.fixture(scope="module")
def tuned(encoder: PromptEncoder) -> PromptEncoder:
    other = PromptEncoder.from_pretrained(encoder.name)
    with torch.no_grad():
        other.network.embeddings.word_embeddings.weight.mul_(1.5)
    return other


def test_head_is_taken_over_whole(encoder: PromptEncoder, tmp_path: Path) -> None:
    start = read_starting_router(starting(save_router(tmp_path / "router", encoder, with_encoder=False)))
    assert start is not None
    assert torch.equal(start.head.difficulty, trained_head(tiny_encoder.DIM).difficulty)
    saved = Router.from_pretrained(tmp_path / "router").head.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in start.head.state_dict().items())


def test_without_a_router_training_starts_from_kmeans() -> None:
    assert read_starting_router(TrainConfig()) is None
    assert digest_of_start(TrainConfig()) is None


def test_weights_of_the_router_are_kept_where_no_step_is_better(encoder: PromptEncoder, tmp_path: Path) -> None:
    config = starting(save_router(tmp_path / "router", encoder, dim=8, with_encoder=False))
    config = replace(config, optimizer=replace(config.optimizer, learning_rate=1e-30))
    method = EndToEnd()
    method.fit(trial_of(outcomes(0), tuning(), config))
    assert method.describe()["step"] == 0
    start = read_starting_router(config)
    assert start is not None
    assert all(torch.equal(value, start.head.state_dict()[name]) for name, value in method.head.state_dict().items())


def test_steps_lead_away_from_the_router(encoder: PromptEncoder, tmp_path: Path) -> None:
    config = starting(save_router(tmp_path / "router", encoder, dim=8, with_encoder=False))
    method = EndToEnd()
    method.fit(trial_of(outcomes(0), tuning(), config))
    assert method.describe()["step"] > 0
    assert method.head.log_shrinkage.item() == pytest.approx(1.5, abs=0.1)
    assert method.head.log_shrinkage.item() != 1.5


def test_far_clusters_are_told_from_the_prompts_of_each_training(encoder: PromptEncoder, tmp_path: Path) -> None:
    kmeans = TrainConfig(head=HeadConfig(num_clusters=3, far_clusters=True), trainer=TrainerConfig(max_steps=2))
    first = EndToEnd()
    first.fit(trial_of(outcomes(0), tuning(), kmeans))
    assert first.describe()["num_clusters"] == 6
    nothing = CalibrationPrompts(prompt_ids=(), texts=(), cluster_probability=torch.zeros(0, 6))
    router = Router(encoder=encoder, head=first.head, pool=LLMPool.empty(6), calibration=nothing, about={})
    router.save_pretrained(tmp_path / "router", with_encoder=False)
    loaded = read_head(read_tensors(tmp_path / "router" / "router.safetensors"))
    assert torch.equal(loaded(outcomes(1).embedding), first.head(outcomes(1).embedding))

    start = read_starting_router(starting(str(tmp_path / "router")))
    assert start is not None
    assert start.head.num_clusters == 3
    again, train = EndToEnd(), outcomes(0)
    config = replace(kmeans, head=replace(kmeans.head, start_from=str(tmp_path / "router")))
    again.fit(trial_of(train._replace(embedding=train.embedding + 1), tuning(), config))
    assert again.head.num_clusters == 6
    assert not torch.equal(again.head.far, first.head.far)


def test_encoder_of_the_router_comes_before_that_of_the_config(
    encoder: PromptEncoder, tuned: PromptEncoder, tmp_path: Path
) -> None:
    config = starting(save_router(tmp_path / "router", tuned, with_encoder=True), name=encoder.name, max_length=12)
    loaded = load_encoder(config)
    assert torch.allclose(loaded.embed(PROMPTS), tuned.embed(PROMPTS), atol=1e-6)
    assert not torch.allclose(loaded.embed(PROMPTS), encoder.embed(PROMPTS), atol=1e-3)
    assert loaded.max_length == 12


def test_encoder_that_the_router_refers_to_is_taken_from_the_config(encoder: PromptEncoder, tmp_path: Path) -> None:
    router = save_router(tmp_path / "router", encoder, with_encoder=False)
    assert torch.equal(load_encoder(starting(router, name=encoder.name)).embed(PROMPTS), encoder.embed(PROMPTS))


def test_another_encoder_is_refused(encoder: PromptEncoder, tuned: PromptEncoder, tmp_path: Path) -> None:
    router = save_router(tmp_path / "router", encoder, with_encoder=False)
    tuned.save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"^encoder.name: got .*other, but the router of head.start_from"):
        load_encoder(starting(router, name=str(tmp_path / "other")))


def test_another_number_of_clusters_is_refused(encoder: PromptEncoder, tmp_path: Path) -> None:
    config = starting(save_router(tmp_path / "router", encoder, with_encoder=False), name=encoder.name)
    with pytest.raises(ConfigError, match=r"^head.num_clusters: got 32, .* has 3. Set head.num_clusters to 3"):
        load_encoder(replace(config, head=replace(config.head, num_clusters=32)))


def test_sweep_over_clusters_is_refused_with_a_router_to_start_from() -> None:
    sweeps = EvaluationConfig(sweeps=SweepConfig(num_clusters=[5]))
    with pytest.raises(ConfigError, match=r"^evaluation.sweeps.num_clusters: got \[5\], expected none"):
        TrainConfig(head=HeadConfig(start_from="unirouter-minilm"), evaluation=sweeps)


def test_router_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere: no such folder; expected a saved router"):
        load_encoder(starting(str(tmp_path / "nowhere")))


def test_bundled_router_is_found_by_name() -> None:
    start = read_starting_router(TrainConfig(head=HeadConfig(start_from="unirouter-minilm")))
    assert start is not None
    assert start.encoder_folder is None
    assert start.reference["name"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert start.head.num_clusters == 32
