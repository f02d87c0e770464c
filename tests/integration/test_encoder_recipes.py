"""The recipes that train an encoder, for two steps over tiny encoders."""

from pathlib import Path

import pytest
from miniature import ROOT, miniature

from unirouter_torch.config.files import parse_config
from unirouter_torch.experiments.run import run

STATIC = "research/zeroeval_static_tokens"
RECIPES = [
    STATIC,
    "research/zeroeval_last_layers",
    "research/zeroeval_lora",
    "research/zeroeval_full_gpu",
    "research/mmlu_pro_encoder",
]
SHORT = [
    *("--trainer.max_steps", "2", "--trainer.validate_every", "1", "--trainer.accelerator", "cpu"),
    *("--encoder_training.max_steps", "2", "--encoder_training.validate_every", "1"),
    *("--encoder_training.num_prompts", "8", "--encoder_training.precision", "32-true"),
    *("--evaluation.methods", "[end_to_end]"),
]


def test_every_way_to_train_an_encoder_has_a_recipe() -> None:
    every = [f"research/{file.stem}" for file in (ROOT / "configs" / "research").glob("*.yaml")]
    training = [name for name in every if "encoder_training" in (ROOT / "configs" / f"{name}.yaml").read_text()]
    assert sorted(training) == sorted(RECIPES)
    modes = {parse_config(["--config", name]).encoder_training.mode for name in RECIPES}
    assert modes == {"last_layers", "lora", "full"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_trains_an_encoder_and_saves_a_router(recipe: str, workshop: Path, static: Path, tmp_path: Path) -> None:
    if recipe.endswith("lora"):
        pytest.importorskip("peft", reason="the extra lora is not installed")
    encoder = static if recipe == STATIC else workshop / "encoder"
    places = ("--output_dir", str(tmp_path), "--encoder.name", str(encoder))
    result = run(parse_config(miniature(workshop, *SHORT, *places, recipe=recipe)))
    assert {"end_to_end", "end_to_end_frozen"} <= set(result.report.methods)
    assert result.router.route(["Which one?"])
