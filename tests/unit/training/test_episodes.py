import torch

from unirouter_torch.config.training import EpisodeConfig
from unirouter_torch.training.episodes import EpisodeDataset, EpisodesOfTables


def dataset(num_prompts: int = 2000, seed: int = 0, **config) -> EpisodeDataset:
    return EpisodeDataset(
        num_prompts=num_prompts, num_llms=8, num_episodes=300, config=EpisodeConfig(**config), seed=seed
    )


def test_calibration_and_target_prompts_are_disjoint_and_distinct() -> None:
    for episode in (dataset()[i] for i in range(50)):
        rows = torch.cat([episode.calibration, episode.target])
        assert len(rows.unique()) == len(rows)
        assert len(episode.target) == 512
        assert rows.min() >= 0
        assert rows.max() < 2000


def test_episode_depends_on_seed_and_number_alone() -> None:
    forward = [dataset()[i] for i in range(5)]
    backward = [dataset()[i] for i in reversed(range(5))][::-1]
    for one, other in zip(forward, backward, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
    assert not torch.equal(dataset()[0].target, dataset()[1].target)
    assert not torch.equal(dataset()[0].target, dataset(seed=1)[0].target)


def test_number_of_calibration_prompts_is_log_uniform() -> None:
    sizes = torch.tensor([len(dataset()[i].calibration) for i in range(300)]).float()
    assert 30 <= sizes.min() < 40
    assert 850 < sizes.max() <= 1000
    # the median of a log-uniform variable is the geometric mean of its ends: 173, far below the arithmetic 515
    assert 130 < sizes.median() < 230


def test_small_tables_keep_half_of_the_prompts_as_targets() -> None:
    for episode in (dataset(num_prompts=20)[i] for i in range(20)):
        assert len(episode.calibration) == 10
        assert len(episode.target) == 10


def test_llm_fraction_sets_the_number_of_llms() -> None:
    assert len(dataset(llm_fraction=0.5)[0].llms) == 4
    assert len(dataset(llm_fraction=0.01)[0].llms) == 1
    assert dataset(llm_fraction=1.0)[0].llms.sort().values.tolist() == list(range(8))


def test_data_set_ends() -> None:
    assert len(list(iter(dataset()[i] for i in range(len(dataset()))))) == 300
    try:
        dataset()[300]
    except IndexError:
        return
    raise AssertionError


def test_episodes_of_one_table_are_that_tables() -> None:
    alone, mixed = dataset(), EpisodesOfTables([dataset()])
    assert len(mixed) == len(alone)
    for index in (0, 7):
        assert mixed[index].table == 0
        assert all(torch.equal(a, b) for a, b in zip(mixed[index][:3], alone[index][:3], strict=True))


def test_tables_are_drawn_with_a_chance_as_the_square_root_of_their_prompts() -> None:
    mixed = EpisodesOfTables([dataset(num_prompts=100), dataset(num_prompts=900)])
    tables = torch.tensor([mixed[index].table for index in range(300)]).float()
    assert abs(float(tables.mean()) - 0.75) < 0.08
    assert all(mixed[index].target.max() < (100, 900)[mixed[index].table] for index in range(50))
    assert [mixed[index].table for index in range(20)] == [mixed[index].table for index in range(20)]
