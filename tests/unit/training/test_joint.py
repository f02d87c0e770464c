"""Encoder and head trained together, on outcomes that the frozen embedding does not tell."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_encoder
import torch
from small_router import KINDS
from torch import Tensor

from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.config.training import EpisodeConfig, OptimizerConfig, TrainConfig
from unirouter_torch.encoder.layer_cache import lower_layers_with_cache
from unirouter_torch.encoder.layers import LastLayers
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.static_encoder import StaticEncoder
from unirouter_torch.encoder.trainable import TrainableEncoder, make_trainable
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.training.clustering import centroids_of
from unirouter_torch.training.episodes import Episode, EpisodeDataset
from unirouter_torch.training.joint import _validation_draws, fit_module, train_jointly
from unirouter_torch.training.joint_module import JointModule, joint_optimizer, share_out
from unirouter_torch.training.joint_tables import JointPart, JointTables
from unirouter_torch.training.objective import EpisodeOutcomes
from unirouter_torch.training.trainer import build_trainer

NUM_TRAIN, NUM_VALIDATION, NUM_LLMS = 160, 60, 6
TRAIN, VALIDATION = torch.arange(NUM_TRAIN), torch.arange(NUM_TRAIN, NUM_TRAIN + NUM_VALIDATION)
FILLERS = ["red", "harbour", "clock", "seven", "nobody", "old"]


class Workshop:
    """Prompts that end with "otter" or "kites", which decide who fails and are one word to a frozen encoder."""

    def __init__(self, folder: Path, *, with_twins: bool = True, encoder: Path | None = None) -> None:
        self.folder = folder
        self.encoder = PromptEncoder.from_pretrained(str(encoder or tiny_encoder.save_bert(folder / "encoder")))
        if with_twins:
            words = word_vectors(self.encoder)
            otter, kites = (self.encoder.backend_tokenizer.token_to_id(word) for word in ("otter", "kites"))
            words[kites] = words[otter]
        generator = torch.Generator().manual_seed(0)
        num_prompts = NUM_TRAIN + NUM_VALIDATION
        kind = torch.randint(0, 2, (num_prompts,), generator=generator)
        lengths = torch.randint(1, 9, (num_prompts,), generator=generator).tolist()
        drawn = [torch.randint(0, len(FILLERS), (length,), generator=generator).tolist() for length in lengths]
        self.texts = [
            " ".join([*(FILLERS[word] for word in words), ("otter", "kites")[one]])
            for words, one in zip(drawn, kind.tolist(), strict=True)
        ]
        fails = torch.where((kind[:, None] + torch.arange(NUM_LLMS)) % 2 == 0, 0.95, 0.05)
        error = (torch.rand(num_prompts, NUM_LLMS, generator=generator) < fails).float()
        observed = torch.rand(num_prompts, NUM_LLMS, generator=generator) < 0.9
        self.outcomes = Outcomes(self.encoder.embed(self.texts), error, observed)

    def module(
        self,
        config: TrainConfig,
        trainable: TrainableEncoder | None = None,
        seed: int = 0,
        tables: JointTables | None = None,
    ) -> JointModule:
        settings = config.encoder_training
        trainable = trainable or make_trainable(
            self.encoder, self.texts, settings, cache_dir=self.folder / "cache", seed=seed
        )
        train = self.outcomes.of_prompts(TRAIN)
        centroids = centroids_of(train.embedding, 0)(4)
        head = ClusterHead.from_centroids(centroids, sharpness=10.0, shrinkage=5.0)
        return JointModule(trainable, head, tables or self.tables(), config)

    def tables(self) -> JointTables:
        validation = self.outcomes.of_prompts(VALIDATION)
        return JointTables(
            self.texts, [JointPart(self.outcomes.of_prompts(TRAIN), TRAIN)], [JointPart(validation, VALIDATION)], 100, 0
        )


def word_vectors(encoder: PromptEncoder) -> Tensor:
    """The table of a static encoder, or what the first layer of a transformer reads; may be changed in place."""
    return (
        encoder.table.data if isinstance(encoder, StaticEncoder) else encoder.network.get_input_embeddings().weight.data
    )


def recipe(mode: str = "full", **settings: object) -> TrainConfig:
    chosen = {
        "learning_rate": 1e-2,
        "num_prompts": 48,
        "max_steps": 8,
        "validate_every": 4,
        "num_layers": 1,
        **settings,
    }
    return TrainConfig(
        episodes=EpisodeConfig(min_calibration=10, num_targets=64),
        optimizer=OptimizerConfig(learning_rate=1e-2),
        encoder_training=EncoderTrainingConfig(mode=mode, **chosen),
    )


@pytest.fixture(scope="module", params=KINDS)
def workshop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    return Workshop(folder, encoder=KINDS[request.param](folder / "encoder"))


with_a_transformer = pytest.mark.parametrize("workshop", ["transformer"], indirect=True)


def move(module: JointModule) -> None:
    """Change all embeddings."""
    with torch.no_grad():
        next(p for p in module.encoder.parameters() if p.requires_grad).add_(0.5)


@torch.no_grad()
def validation_loss(module: JointModule) -> float:
    module.on_validation_epoch_start()
    train = module._outcomes(0, module.encoder(TRAIN), TRAIN)
    error, observed = module.get_buffer("validation_error_0"), module.get_buffer("validation_observed_0")
    target = Outcomes(module._validation_embeddings[0], error, observed)
    return module._loss(EpisodeOutcomes(train, target)).item()


def first_episode(num_calibration: int = 40) -> Episode:
    order = torch.randperm(NUM_TRAIN, generator=torch.Generator().manual_seed(1))
    return Episode(order[:num_calibration], order[num_calibration : num_calibration + 64], torch.arange(NUM_LLMS))


def test_frozen_embedding_cannot_tell_what_matters(workshop: Workshop) -> None:
    swapped = [text.replace("otter", "kites") for text in workshop.texts]
    assert torch.equal(workshop.encoder.embed(swapped), workshop.encoder.embed(workshop.texts))


def long_recipe(workshop: Workshop) -> TrainConfig:
    learning_rate = 5e-2 if isinstance(workshop.encoder, StaticEncoder) else 5e-3
    return recipe(learning_rate=learning_rate, num_prompts=96, max_steps=150, validate_every=25)


@pytest.fixture(scope="module")
def learned(workshop: Workshop) -> JointModule:
    module = workshop.module(long_recipe(workshop))
    assert fit_module(module, 100, 0, None) > 0
    return module


def test_trained_encoder_learns_what_the_frozen_one_cannot_see(workshop: Workshop, learned: JointModule) -> None:
    frozen = workshop.module(long_recipe(workshop))
    frozen.encoder.requires_grad_(False)
    fit_module(frozen, 100, 0, None)
    assert validation_loss(frozen) > 0.65
    assert validation_loss(learned) < 0.35


@pytest.mark.parametrize("mode", ["lora", "last_layers"])
def test_other_modes_improve_on_the_head_alone(mode: str, tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, with_twins=False)
    module = workshop.module(recipe(mode, lora_rank=4, max_steps=30))
    module.encoder.requires_grad_(False)
    fit_module(module, 100, 0, None)
    head_alone = validation_loss(module)
    module = workshop.module(recipe(mode, lora_rank=4, max_steps=30))
    assert fit_module(module, 100, 0, None) > 0
    assert validation_loss(module) < head_alone - 0.02


def test_gradients_reach_the_encoder_from_calibration_and_target_prompts(workshop: Workshop) -> None:
    module = workshop.module(recipe())
    module.trainer = build_trainer(module.config, logger=False)
    outputs: list[torch.Tensor] = []
    module.encoder.register_forward_hook(lambda *args: (args[2].retain_grad(), outputs.append(args[2]))[-1])
    episode = first_episode()
    module.training_step(episode, 0).backward()
    (embedding,) = outputs
    parts = share_out(episode, 48)
    assert embedding.grad is not None and len(embedding) == 48 == len(parts.passing) + len(parts.target)
    norms = embedding.grad.norm(dim=1)
    assert (norms[: len(parts.passing)] > 0).all()
    assert (norms[len(parts.passing) :] > 0).all()
    assert all(p.grad is not None for p in module.encoder.parameters() if p.requires_grad)


def test_memory_bank_holds_the_latest_pass_of_exactly_the_prompts_that_passed(workshop: Workshop) -> None:
    module = workshop.module(recipe())
    module.trainer = build_trainer(module.config, logger=False)
    move(module)
    episode = first_episode()
    module.training_step(episode, 0)
    parts = share_out(episode, 48)
    passed = torch.cat([parts.passing, parts.target])
    assert torch.equal(module.banks[0].read(passed), module.encoder(TRAIN[passed]).detach())
    others = torch.tensor(sorted(set(range(NUM_TRAIN)) - set(passed.tolist())))
    assert torch.equal(module.banks[0].read(others), workshop.outcomes.embedding[others])


def test_remembered_prompts_count_as_if_they_had_passed(workshop: Workshop) -> None:
    losses = []
    for num_prompts in (48, 104):
        module = workshop.module(recipe(num_prompts=num_prompts))
        module.trainer = build_trainer(module.config, logger=False)
        episode = first_episode()
        losses.append(module.training_step(episode._replace(target=episode.target[:24]), 0).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("num_calibration", "num_targets", "num_prompts", "expected"),
    [(40, 64, 48, (24, 16, 24)), (10, 64, 48, (10, 0, 38)), (100, 8, 48, (40, 60, 8)), (10, 8, 48, (10, 0, 8))],
)
def test_budget_is_shared_out(
    num_calibration: int, num_targets: int, num_prompts: int, expected: tuple[int, int, int]
) -> None:
    order = torch.arange(num_calibration + num_targets)
    parts = share_out(Episode(order[:num_calibration], order[num_calibration:], torch.arange(1)), num_prompts)
    assert tuple(map(len, parts)) == expected
    assert torch.equal(torch.cat([parts.passing, parts.remembered]), order[:num_calibration])


@with_a_transformer
def test_losses_depend_on_the_seed_alone(workshop: Workshop) -> None:
    def losses(seed: int) -> list[float]:
        module = workshop.module(recipe("lora"), seed=seed)
        fit_module(module, 100, seed, None)
        return module.losses

    first = losses(0)
    torch.manual_seed(5)
    assert losses(0) == first
    assert losses(1) != first


@with_a_transformer
def test_last_layers_equals_full_with_the_lower_layers_frozen(workshop: Workshop) -> None:
    full = workshop.module(recipe("full"))
    for name, parameter in full.encoder.encoder.network.named_parameters():
        parameter.requires_grad_(name.startswith("encoder.layer.1."))
    fit_module(full, 100, 0, None)

    copied = PromptEncoder.from_pretrained(workshop.encoder.name)
    copied.network.load_state_dict(workshop.encoder.network.state_dict())
    copied.requires_grad_(False)
    hidden = lower_layers_with_cache(
        copied, 1, workshop.texts, cache_dir=workshop.folder / "exact", dtype=torch.float32
    )
    trained = LastLayers(copied, 1).requires_grad_(True)
    last = workshop.module(recipe("last_layers"), TrainableEncoder(copied, trained, hidden))
    fit_module(last, 100, 0, None)
    assert last.losses == pytest.approx(full.losses, abs=1e-5)
    assert len(set(last.losses)) == 8

    rounded = workshop.module(recipe("last_layers"))
    fit_module(rounded, 100, 0, None)
    assert rounded.losses == pytest.approx(full.losses, abs=5e-3)


def test_weights_at_the_start_are_kept_where_no_step_is_better(learned: JointModule) -> None:
    module = copy.deepcopy(learned)
    module.config = replace(
        recipe(learning_rate=1.0, validate_every=1, max_steps=6), optimizer=OptimizerConfig(learning_rate=1.0)
    )
    assert fit_module(module, 100, 0, None) == 0
    assert len(module.losses) > len(learned.losses)
    for name, value in module.named_parameters():
        assert torch.equal(value, learned.get_parameter(name)), name


def test_training_stops_when_patience_ends(workshop: Workshop) -> None:
    config = recipe(learning_rate=30.0, validate_every=1, max_steps=40, patience=2)
    module = workshop.module(replace(config, optimizer=OptimizerConfig(learning_rate=30.0)))
    fit_module(module, 100, 0, None)
    assert len(module.losses) < 40


def test_episodes_of_one_step_see_the_same_weights(workshop: Workshop) -> None:
    module = workshop.module(recipe(accumulate=2, max_steps=1, validate_every=1))
    fit_module(module, 100, 0, None)
    untouched = workshop.module(recipe())
    untouched.trainer = build_trainer(untouched.config, logger=False)
    drawn = replace(untouched.config.episodes, num_targets=48)
    episodes = EpisodeDataset(num_prompts=NUM_TRAIN, num_llms=NUM_LLMS, num_episodes=2, config=drawn, seed=0)
    expected = [untouched.training_step(episodes[number], number).item() for number in range(2)]
    assert module.losses == pytest.approx(expected, rel=1e-5)
    assert any(not torch.equal(a, b) for a, b in zip(module.parameters(), untouched.parameters(), strict=True))


def test_encoder_and_head_have_their_own_rates_and_only_matrices_decay(workshop: Workshop) -> None:
    config = replace(recipe(learning_rate=1e-4), optimizer=OptimizerConfig(learning_rate=1e-2, weight_decay=0.3))
    module = workshop.module(config)
    optimizer = joint_optimizer(module.encoder, module.head, config)
    rates = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert rates == [(1e-4, 0.3), (1e-4, 0.0), (1e-2, 0.3), (1e-2, 0.0)]
    assert all(p.ndim >= 2 for group in optimizer.param_groups[::2] for p in group["params"])
    assert all(p.ndim < 2 for group in optimizer.param_groups[1::2] for p in group["params"])
    trained = [p for p in module.parameters() if p.requires_grad]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trained)


@with_a_transformer
def test_bfloat16_trains_with_a_loss_near_that_of_float32(workshop: Workshop) -> None:
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        module = workshop.module(recipe(precision=precision, learning_rate=1e-3))
        fit_module(module, 100, 0, None)
        losses.append(module.losses)
        assert all(p.dtype == torch.float32 for p in module.parameters())
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)


def two_tables(workshop: Workshop, num_prompts: int = 40) -> JointTables:
    """The table of the workshop, and a smaller one of its first prompts with two LLMs and other outcomes."""
    tables, rows = workshop.tables(), torch.arange(num_prompts)
    outcomes = workshop.outcomes.of_prompts(rows).of_llms(torch.arange(2))
    other = JointPart(outcomes._replace(error=1 - outcomes.error), len(workshop.texts) + rows)
    return tables._replace(texts=workshop.texts + workshop.texts[:num_prompts], train=[*tables.train, other])


def module_of(workshop: Workshop, tables: JointTables, config: TrainConfig) -> JointModule:
    trainable = make_trainable(
        workshop.encoder, tables.texts, config.encoder_training, cache_dir=workshop.folder / "cache", seed=0
    )
    return workshop.module(config, trainable, tables=tables)


def test_episode_of_another_table_reads_and_refreshes_that_table_alone(workshop: Workshop) -> None:
    tables = two_tables(workshop)
    module = module_of(workshop, tables, recipe())
    module.trainer = build_trainer(module.config, logger=False)
    move(module)
    episode = Episode(torch.arange(20), torch.arange(20, 40), torch.arange(2), table=1)
    loss = module.training_step(episode, 0)
    assert torch.equal(module.banks[0].embedding, tables.train[0].outcomes.embedding)
    rows = len(workshop.texts) + torch.arange(40)
    assert torch.equal(module.banks[1].embedding, module.encoder(rows).detach())
    mirrored = module_of(workshop, tables._replace(train=tables.train[1:]), recipe())
    mirrored.trainer = module.trainer
    mirrored.encoder = module.encoder
    assert loss.item() == pytest.approx(mirrored.training_step(episode._replace(table=0), 0).item(), rel=1e-5)


def test_steps_are_drawn_from_both_tables_and_the_first_alone_decides(workshop: Workshop) -> None:
    config = recipe(max_steps=8, validate_every=4)
    module, alone = module_of(workshop, two_tables(workshop), config), workshop.module(config)
    drawn: list[int] = []
    step = module.training_step
    module.training_step = lambda batch, batch_idx: (drawn.append(batch.table), step(batch, batch_idx))[-1]
    draws = _validation_draws(module, 50, 0)
    assert [draw.table for draw in draws] == [0, 0, 0]
    expected = [draw.calibration for draw in _validation_draws(alone, 50, 0)]
    assert all(torch.equal(a.calibration, b) for a, b in zip(draws, expected, strict=True))
    fit_module(module, 50, 0, None)
    fit_module(alone, 50, 0, None)
    assert set(drawn) == {0, 1}
    first = drawn.index(1)
    assert module.losses[:first] == alone.losses[:first]
    assert module.losses[first] != alone.losses[first]


def test_one_table_trains_as_if_there_were_no_others(workshop: Workshop) -> None:
    config = recipe(max_steps=3, validate_every=3)
    one = module_of(workshop, workshop.tables(), config)
    fit_module(one, 50, 0, None)
    plain = EpisodeDataset(
        num_prompts=NUM_TRAIN,
        num_llms=NUM_LLMS,
        num_episodes=3,
        config=replace(config.episodes, num_targets=48),
        seed=0,
    )
    untouched = workshop.module(config)
    untouched.trainer = build_trainer(config, logger=False)
    assert one.losses[0] == pytest.approx(untouched.training_step(plain[0], 0).item(), rel=1e-5)


def test_all_tables_decide_where_none_is_served(workshop: Workshop) -> None:
    tables = two_tables(workshop)
    rows = len(workshop.texts) + torch.arange(30, 40)
    outcomes = Outcomes(*(part[30:40] for part in tables.train[1].outcomes))
    both = tables._replace(validation=[*tables.validation, JointPart(outcomes, rows)])
    module = module_of(workshop, both, recipe())
    draws = list(_validation_draws(module, 30, 0))
    assert [draw.table for draw in draws] == [0, 0, 0, 1, 1, 1]
    assert all(len(draw.calibration) == 30 for draw in draws)
    logged: list[float] = []
    module.log = lambda name, value, **_: logged.append(value.item())
    with torch.no_grad():
        module.on_validation_epoch_start()
        for number, draw in enumerate(draws):
            module.validation_step(draw, number)
    assert torch.equal(module._validation_embeddings[1], module.encoder(rows).detach())
    assert abs(logged[0] - logged[3]) > 0.01


def test_far_clusters_are_told_from_the_trained_embeddings(workshop: Workshop, tmp_path: Path) -> None:
    config = recipe(max_steps=2)
    config = replace(
        config, head=replace(config.head, far_clusters=True), data=replace(config.data, cache_dir=str(tmp_path))
    )
    head = workshop.module(config).head
    head.split_far(workshop.outcomes.of_prompts(TRAIN).embedding)
    tuned = train_jointly(config, workshop.encoder, head, workshop.tables(), log_folder=None)
    assert tuned.step > 0
    assert tuned.head.num_clusters == 8
    found = copy.deepcopy(tuned.head)
    found.split_far(tuned.encoder.embed([workshop.texts[row] for row in TRAIN.tolist()]))
    torch.testing.assert_close(tuned.head.far, found.far)
    assert not torch.allclose(tuned.head.far, head.far)
