"""What each stress does to one trial."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.splits import draw_calibration, split_table
from unirouter_torch.errors import DataError
from unirouter_torch.experiments import disturbances as disturb
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_texts, load_encoder
from unirouter_torch.experiments.run import prepare_trial
from unirouter_torch.methods.end_to_end import EndToEnd
from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.method_run import estimate_test
from unirouter_torch.methods.registry import methods_to_compare
from unirouter_torch.methods.trial import Trial
from unirouter_torch.metrics.cluster_gap import ClusteredOutcomes, measure_cluster_gap
from unirouter_torch.metrics.figures import FIGURE_OF, figures_of
from unirouter_torch.metrics.judged import Judged
from unirouter_torch.shapes import ClusterProbability, Embedding, ErrorMatrix, PromptSubset
from unirouter_torch.training.clustering import assign_to_nearest

FLIPPED = (0.05, 0.1, 0.2, 0.4)
MISSING = (0.1, 0.3, 0.5, 0.7, 0.9)
FEW_PROMPTS = (100, 50, 20, 10)
MAX_DISTURBED_PROMPTS = 300
NUM_REDRAWS = 5
NUM_CLUSTERS = (5, 10, 20, 50, 100)

Figures = dict[str, float]
Assignment = Callable[[Embedding], ClusterProbability]


class Case(NamedTuple):
    """One level of a stress.

    Attributes:
        trial: What the methods may see and are tested on; the same test prompts, in the same order, at every level.
        judged: Rows of the test prompts that count; None for all.
    """

    trial: Trial
    judged: PromptSubset | None = None


class StressTest(NamedTuple):
    """What a stress did on one trial: figures by level and method, and facts about what was disturbed, as JSON."""

    levels: dict[str, dict[str, Figures]]
    about: dict[str, Any]


NOT_POSSIBLE = StressTest({}, {})
"""For want of sources, prompts or outcomes in this trial."""


class Bench:
    """One undisturbed trial with its methods, fitted when they are first asked for and kept.

    Args:
        config: The run.
        embedded: The routing table.
        seed: Of the split, the calibration prompts, the methods, and whatever is disturbed.
    """

    def __init__(self, config: TrainConfig, embedded: EmbeddedTable, seed: int) -> None:
        # what is disturbed are calibration prompts at random
        self.config = replace(config, data=replace(config.data, calibration="random"))
        self.embedded = embedded
        self.seed = seed
        self.split = split_table(embedded.table, seed=seed, unseen_fraction=config.data.unseen_fraction)
        self.methods = methods_to_compare(config)

    @cached_property
    def trial(self) -> Trial:
        """The undisturbed trial."""
        return prepare_trial(self.config, self.embedded, self.split, self.seed)

    @property
    def can_be_judged(self) -> PromptSubset:
        """Rows of the test prompts with an outcome."""
        return self.trial.test.observed.any(-1).nonzero().squeeze(-1)

    def method(self, name: str, trial: Trial) -> RoutingMethod[Any]:
        """A method fitted on that trial; the one of the undisturbed trial where its fit cannot differ."""
        method = self.methods[name]
        is_trained_alike = trial.train is self.trial.train and not method.is_tuned_to_num_calibration
        return (self.trial if is_trained_alike else trial).fitted(method)

    def estimate(self, name: str, trial: Trial) -> ErrorMatrix:
        """Estimated test errors of a method on a trial."""
        return estimate_test(self.method(name, trial), trial)

    def run(self, cases: dict[str, Case]) -> dict[str, dict[str, Figures]]:
        """Area and mean squared error of every method at every level."""
        return {level: {name: self._judge(name, case) for name in self.methods} for level, case in cases.items()}

    def _judge(self, name: str, case: Case) -> Figures:
        estimated, truth = self.estimate(name, case.trial), case.trial.truth
        if case.judged is not None:
            estimated, truth = estimated[case.judged], truth.of_prompts(case.judged)
        found = figures_of(Judged(estimated, truth), [FIGURE_OF[key] for key in ("area", "mean_squared_error")])
        return {key: value for key, value in found.items() if value is not None}


def left_out_source(bench: Bench) -> StressTest:
    """One source is kept from training, tuning and calibration, and is the only one tested."""
    table, seed = bench.embedded.table, bench.seed
    rows = bench.can_be_judged
    left_out = disturb.choose_source(bench.trial.test_source[rows], seed)
    if left_out is None:
        return NOT_POSSIBLE
    without = disturb.leave_out_source(bench.split, table.source_index, left_out)
    as_many = disturb.thin_split(bench.split, without, seed)
    judged = rows[bench.trial.test_source[rows] == left_out]
    try:
        trials = [prepare_trial(bench.config, bench.embedded, split, seed) for split in (as_many, without)]
    except DataError:
        return NOT_POSSIBLE
    cases = {level: Case(trial, judged) for level, trial in zip(("all sources", "other sources"), trials, strict=True)}
    about = {"source": table.source_names[left_out], "num_judged": len(judged)} | without.describe()
    return StressTest(bench.run(cases), about)


def flipped_labels(bench: Bench) -> StressTest:
    """Some calibration outcomes say the opposite."""
    trial, calibration = bench.trial, bench.trial.calibration
    cases = {"0%": Case(trial)}
    for share in FLIPPED:
        number = disturb.share_of(calibration.observed, share)
        pairs = disturb.draw_pairs(calibration.observed, number, bench.seed)
        cases[f"{share:.0%}"] = Case(replace(trial, calibration=disturb.flip_outcomes(calibration, pairs)))
    return StressTest(bench.run(cases), {"num_outcomes": int(calibration.observed.sum())})


def missing_outcomes(bench: Bench) -> StressTest:
    """Some calibration outcomes are missing."""
    trial, calibration = bench.trial, bench.trial.calibration
    may_go = disturb.spare_one_for_each_llm(calibration.observed, bench.seed)
    cases = {"0%": Case(trial)}
    for share in MISSING:
        pairs = disturb.draw_pairs(may_go, disturb.share_of(calibration.observed, share), bench.seed)
        cases[f"{share:.0%}"] = Case(replace(trial, calibration=disturb.drop_outcomes(calibration, pairs)))
    return StressTest(bench.run(cases), {"num_outcomes": int(calibration.observed.sum())})


def few_calibration_prompts(bench: Bench) -> StressTest:
    """Fewer calibration prompts represent an unseen LLM, and the methods are tuned for it."""
    trial = bench.trial
    cases = {"all": Case(trial)}
    for number in FEW_PROMPTS:
        if number < trial.tuning.num_calibration:
            fewer = bench.trial.with_calibration(draw_calibration(bench.split, num_prompts=number, seed=bench.seed))
            tuning = trial.tuning._replace(num_calibration=number)
            cases[str(number)] = Case(replace(fewer, tuning=tuning, fitted_methods={}))
    if len(cases) == 1:
        return NOT_POSSIBLE
    return StressTest(bench.run(cases), {"num_calibration": trial.tuning.num_calibration})


def wrong_sources(bench: Bench) -> StressTest:
    """Calibration prompts come from half of the sources, and only the others are tested."""
    table, seed, rows = bench.embedded.table, bench.seed, bench.can_be_judged
    half = disturb.keep_half_of_sources(bench.split, table.source_index, seed)
    if half is None:
        return NOT_POSSIBLE
    wrong = draw_calibration(half, num_prompts=len(bench.trial.calibration_prompts), seed=seed)
    as_many = draw_calibration(bench.split, num_prompts=len(wrong), seed=seed)
    kept = torch.unique(table.source_index[half.validation_prompts])
    judged = rows[~torch.isin(bench.trial.test_source[rows], kept)]
    if len(judged) < disturb.MIN_TEST_PROMPTS_OF_A_SOURCE:
        return NOT_POSSIBLE
    cases = {
        "all sources": Case(bench.trial.with_calibration(as_many), judged),
        "wrong sources": Case(bench.trial.with_calibration(wrong), judged),
    }
    about = {"sources": [table.source_names[source] for source in kept.tolist()], "num_calibration": len(wrong)}
    return StressTest(bench.run(cases), about | {"num_judged": len(judged)})


def disturbed_prompts(bench: Bench) -> StressTest:
    """Test prompts are written differently."""
    trial, rows = bench.trial, bench.can_be_judged
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(bench.seed))
    judged = rows[order[:MAX_DISTURBED_PROMPTS]].sort().values
    all_texts = bench.embedded.table.prompt_texts
    texts = [all_texts[row] for row in bench.split.test_prompts[judged].tolist()]
    changed = [text for kind in disturb.DISTURBANCES for text in disturb.disturb_texts(texts, kind, bench.seed)]
    cases = {"as they are": Case(trial, judged)}
    encoder = load_encoder(bench.config)
    blocks = torch.split(embed_texts(bench.config, encoder, changed, show_progress=False), len(texts))
    for kind, block in zip(disturb.DISTURBANCES, blocks, strict=True):
        embedding = trial.test.embedding.index_copy(0, judged, block)
        cases[kind] = Case(replace(trial, test=trial.test._replace(embedding=embedding)), judged)
    return StressTest(bench.run(cases), {"num_judged": len(judged)})


def worst_source(bench: Bench) -> StressTest:
    """Regret on the worst source; nothing is disturbed."""
    found: dict[str, Figures] = {}
    for name in bench.methods:
        regret = FIGURE_OF["worst_source_regret"].of(Judged(bench.estimate(name, bench.trial), bench.trial.truth))
        if regret is not None:
            found[name] = {"worst_source_regret": regret}
    return StressTest({"undisturbed": found} if found else {}, {})


def stability(bench: Bench) -> StressTest:
    """Standard deviation of an estimated error over calibration prompts drawn again, at most half of them each time."""
    pool = bench.split.validation_prompts
    number = max(1, min(len(bench.trial.calibration_prompts), len(pool) // 2))
    generator = torch.Generator().manual_seed(bench.seed)
    draws = [disturb.draw_prompts(pool, number, generator) for _ in range(NUM_REDRAWS)]
    trials = [bench.trial.with_calibration(prompts) for prompts in draws]
    found: dict[str, Figures] = {}
    for name in bench.methods:
        estimates = torch.stack([bench.estimate(name, trial) for trial in trials])
        found[name] = {"instability": disturb.instability(estimates, bench.trial.test.observed)}
    return StressTest({"redrawn": found}, {"num_calibration": number, "num_validation_prompts": len(pool)})


def proposition_2(bench: Bench) -> StressTest:
    """Gaps between test errors and cluster errors, for K-means clusters and for those of the end-to-end router."""
    trial, levels = bench.trial, defaultdict[str, dict[str, Figures]](dict)

    def add(method: str, num_clusters: int, assign: Assignment, shrinkage: float) -> None:
        parts = (trial.calibration, trial.test)
        calibration, test = (ClusteredOutcomes(assign(p.embedding), p.error, p.observed) for p in parts)
        gap = measure_cluster_gap(calibration, test, shrinkage=shrinkage, seed=bench.seed)
        if gap is not None:
            levels[str(num_clusters)][method] = gap.figures()

    for number in NUM_CLUSTERS:
        if number <= len(trial.train.embedding):
            add("kmeans", number, partial(assign_to_nearest, centroids=trial.tuning.centroids(number)), 0.0)
    if "end_to_end" in bench.methods:
        router = trial.fitted(EndToEnd)
        with torch.inference_mode():
            add("end_to_end", router.head.num_clusters, router.head, router.head.shrinkage.item())
    return StressTest({level: levels[level] for level in sorted(levels, key=int)}, {})


STRESS_TESTS: dict[str, Callable[[Bench], StressTest]] = {
    test.__name__: test
    for test in (
        left_out_source,
        flipped_labels,
        missing_outcomes,
        few_calibration_prompts,
        wrong_sources,
        disturbed_prompts,
        worst_source,
        stability,
        proposition_2,
    )
}
