"""What each stress test is called, and how it reads."""

from typing import NamedTuple


class Stress(NamedTuple):
    """What a stress is called, and how it reads.

    Attributes:
        title: In tables and figures.
        axis: What its levels are, or what is measured where nothing is disturbed.
        explanation: What is done, in Markdown.
        is_ordered: Whether the levels rise in strength, so that a line may join them.
    """

    title: str
    axis: str
    explanation: str
    is_ordered: bool = True


STRESSES = {
    "left_out_source": Stress(
        "Left-out source",
        "Trained and calibrated on",
        "One source, another one in each trial, is the only one tested. *Other sources*: it is kept from training, "
        "validation and calibration prompts. *All sources*: as many prompts of each kind, drawn from all sources.",
    ),
    "flipped_labels": Stress(
        "Flipped labels",
        "Calibration outcomes flipped",
        "A share of the calibration outcomes, drawn at random, turns from error e to 1 - e.",
    ),
    "missing_outcomes": Stress(
        "Missing outcomes",
        "Calibration outcomes missing",
        "A share of the calibration outcomes, drawn at random, is not observed; each LLM keeps at least one.",
    ),
    "few_calibration_prompts": Stress(
        "Few calibration prompts",
        "Calibration prompts",
        "Unseen LLMs are represented by fewer calibration prompts, and every method is tuned for that number.",
    ),
    "wrong_sources": Stress(
        "Wrong sources",
        "Calibration prompts from",
        "Half of the sources, another half in each trial, is not tested. *Wrong sources*: all calibration prompts come "
        "from it. *All sources*: as many calibration prompts, drawn from all sources. Training is not disturbed.",
    ),
    "disturbed_prompts": Stress(
        "Disturbed prompts",
        "Test prompts",
        "Up to 300 test prompts are changed and embedded again. *Typos*: one character in 20 is left out or swapped "
        "with the next. *Padding*: small talk before and after. *First half*: the rest is cut off.",
        is_ordered=False,
    ),
    "worst_source": Stress(
        "Worst source's regret",
        "Regret on the worst source",
        "How far the area on the worst source lies below what its LLMs' mean errors there allow; nothing is disturbed.",
    ),
    "stability": Stress(
        "Spread of estimates",
        "Standard deviation of an estimated error",
        "Standard deviation of an estimated error over 5 draws of the calibration prompts, mean over test pairs. "
        "Estimates that ignore the calibration prompts have none.",
    ),
    "proposition_2": Stress(
        "Proposition 2",
        "Clusters",
        "How far the error of an unseen LLM on the test prompts of a cluster lies from its cluster error. The floor is "
        "what the sampling of test outcomes alone would show if cluster errors were exact. Only pairs of an LLM and a "
        "cluster with 20 test prompts count; gaps of small coverage do not compare with those of large coverage.",
    ),
}
