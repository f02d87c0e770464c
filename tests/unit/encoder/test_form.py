import math

import pytest
import torch

from unirouter_torch.encoder.form import FARTHEST, FORM_FEATURES, PromptForm, count_bytes
from unirouter_torch.errors import ArtifactError

TEXTS = ["Is 2 + 2 = 4?", "", "naïve\n\n{x: $\\alpha$}", "é" * 600, "plain words only"]


def test_bytes_are_counted_as_a_loop_counts_them() -> None:
    found = count_bytes(TEXTS * 200)  # more than are counted at once
    assert found.shape == (1000, 256)
    for row, text in enumerate(TEXTS * 200):
        encoded = text.encode()
        assert found[row].tolist() == [encoded.count(byte) for byte in range(256)]


def test_half_a_surrogate_pair_counts_as_a_question_mark() -> None:
    assert torch.equal(count_bytes(["a\ud800"]), count_bytes(["a?"]))


def test_features_are_standardised_logarithms_of_counts() -> None:
    names = list(FORM_FEATURES)
    mean, deviation = torch.linspace(0, 2, len(names)), torch.linspace(1, 3, len(names))
    found = PromptForm(mean, deviation, weight=2.0)(count_bytes(TEXTS))
    counts = {
        "characters": [len(text) for text in TEXTS],
        "non_ascii": [sum(ord(c) > 127 for c in text) for text in TEXTS],
        "digits": [sum(c.isdigit() for c in text) for text in TEXTS],
        "capitals": [sum(c.isupper() for c in text) for text in TEXTS],
        "lines": [text.count("\n") for text in TEXTS],
    }
    for name, expected in counts.items():
        column = names.index(name)
        for row, count in enumerate(expected):
            scaled = (math.log1p(count) - mean[column].item()) / deviation[column].item()
            scaled = max(-FARTHEST, min(FARTHEST, scaled))
            assert found[row, column].item() == pytest.approx(scaled * 2 / math.sqrt(len(names)), abs=1e-5)


def test_features_of_the_longest_prompt_are_bounded() -> None:
    found = PromptForm.typical(1.0).of_texts(["9" * 10**6, ""])
    assert found.abs().max() <= FARTHEST / math.sqrt(len(FORM_FEATURES)) + 1e-6


def test_json_holds_all_that_decides() -> None:
    form = PromptForm.typical(3.0)
    again = PromptForm.from_json(form.to_json())
    assert torch.equal(again.of_texts(TEXTS), form.of_texts(TEXTS))


def test_features_of_another_version_are_refused() -> None:
    facts = PromptForm.typical(1.0).to_json()
    facts["mean"] = {"vowels": 1.0}
    with pytest.raises(ArtifactError, match="vowels"):
        PromptForm.from_json(facts)
