"""Ways to train a static encoder, of scripts/joint_ways.py."""

from pathlib import Path
from types import ModuleType

import pytest
import tiny_encoder
import torch
from script_module import script_module
from tiny_encoder import PROMPTS
from torch import Tensor, nn

from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.trainable import TrainableEncoder, make_trainable
from unirouter_torch.routing.head import ClusterHead


@pytest.fixture(scope="module")
def ways() -> ModuleType:
    return script_module("joint_ways")


@pytest.fixture
def encoder(tmp_path: Path) -> TrainableEncoder:
    frozen = PromptEncoder.from_pretrained(str(tiny_encoder.save_static(tmp_path / "static")))
    return make_trainable(frozen, PROMPTS, EncoderTrainingConfig(mode="full"), cache_dir=tmp_path, seed=0)


class Lengths(nn.Module):
    """Tokens that count, of each prompt."""

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        return mask.sum(1)


def test_tokens_are_dropped_while_gradients_are_taken_and_never_all_of_a_prompt(ways: ModuleType) -> None:
    mask = torch.ones(200, 10)
    mask[:, 8:] = 0
    torch.manual_seed(0)
    left = ways.DropTokens(Lengths(), 0.5)(mask.long(), mask)
    assert left.min() >= 1 and left.max() <= 8 and 3.5 < left.float().mean() < 4.5
    assert ways.DropTokens(Lengths(), 0.999999)(mask.long(), mask).tolist() == [8] * 200
    with torch.no_grad():
        assert ways.DropTokens(Lengths(), 0.5)(mask.long(), mask).tolist() == [8] * 200


def test_rare_tokens_and_what_has_no_rate_stay(ways: ModuleType, encoder: TrainableEncoder) -> None:
    way = ways.Way(table_rate=0.1, rarest=3)
    rows = torch.arange(len(PROMPTS))
    optimizer = ways.optimizer_of(way, encoder, ClusterHead(encoder.encoder.dim, 2), 0.01)
    ways.freeze_rare(encoder, rows, way.rarest)
    encoder(rows)[:, 0].sum().backward()
    optimizer.step()
    parts = {name.rsplit(".", 1)[-1]: part for name, part in encoder.trained.named_parameters()}
    moved = (parts["table_change"] != 0).any(1)
    counts = torch.cat([row.unique() for row in encoder.inputs]).long().bincount(minlength=len(moved))
    assert torch.equal(moved, counts >= 3) and moved.any()
    assert not parts["log_weight"].any()


def test_every_way_of_the_frozen_encoder_has_a_name_of_its_own(ways: ModuleType) -> None:
    assert len(set(ways.WAYS.values())) == len(ways.WAYS)
