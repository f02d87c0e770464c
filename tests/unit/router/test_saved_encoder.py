"""The encoder of a saved router is read when it is first needed; what its headers tell is checked before."""

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_router import PROMPTS, small_router
from tiny_encoder import save_bert, save_static, save_static_with_form

from unirouter_torch.encoder.header import dim_in_files
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import ArtifactError
from unirouter_torch.router.router import Router

TEXTS = list(PROMPTS.values())
KINDS = [save_bert, save_static, save_static_with_form]


@pytest.fixture(params=KINDS)
def router(request: pytest.FixtureRequest, tmp_path: Path) -> Router:
    router = small_router(tmp_path, save_encoder=request.param)
    router.save_pretrained(tmp_path / "router")
    return router


def is_loaded(router: Router) -> bool:
    return "encoder" in router._modules


def test_encoder_is_read_at_its_first_use_and_once(router: Router, tmp_path: Path) -> None:
    loaded = Router.from_pretrained(tmp_path / "router")
    loaded.pool = loaded.pool.with_changes("small", cost=0.3)
    loaded.add_llm("new", dict.fromkeys(PROMPTS, 1.0), 0.2)
    loaded.save_pool("more")
    loaded.chooser(0.5)
    assert loaded.conversation == router.encoder.recipe.conversation
    assert not is_loaded(loaded)
    encoder = loaded.encoder
    assert is_loaded(loaded) and loaded.encoder is encoder and not encoder.training
    assert torch.equal(encoder.embed(TEXTS), router.encoder.embed(TEXTS))


@pytest.mark.parametrize(
    "use",
    [
        lambda router: router.to(torch.float64).encoder,
        lambda router: list(router.parameters()),
        lambda router: copy.deepcopy(router).route(TEXTS),
        lambda router: router.estimate_error(TEXTS),
    ],
)
def test_whatever_needs_the_weights_has_those_of_the_encoder(tmp_path: Path, use: Callable[[Router], object]) -> None:
    router = small_router(tmp_path, save_encoder=save_static)
    router.save_pretrained(tmp_path / "router")
    loaded = Router.from_pretrained(tmp_path / "router")
    use(loaded)
    tables = [tensor.shape for name, tensor in loaded.named_parameters() if name.startswith("encoder.")]
    assert tables == [router.encoder.table.shape]


@pytest.mark.parametrize("save_encoder", KINDS)
def test_dim_in_files_is_that_of_the_encoder(tmp_path: Path, save_encoder: Callable[..., Path]) -> None:
    folder = save_encoder(tmp_path / "encoder")
    assert dim_in_files(folder, None) == PromptEncoder.from_pretrained(str(folder)).dim


@pytest.mark.parametrize(
    ("save_encoder", "change", "message"),
    [
        (save_static, lambda tensors: {"embeddings": tensors["embeddings"][:, :5].contiguous()}, "gives 5 numbers"),
        (save_static, lambda tensors: {"vectors": tensors["embeddings"]}, "cannot be loaded as a static encoder"),
        (save_bert, None, "damaged safetensors file"),
        (save_static, None, "damaged safetensors file"),
    ],
)
def test_header_that_is_wrong_is_refused_when_the_router_is_loaded(
    tmp_path: Path,
    save_encoder: Callable[..., Path],
    change: Callable[..., dict[str, torch.Tensor]] | None,
    message: str,
) -> None:
    small_router(tmp_path, save_encoder=save_encoder).save_pretrained(tmp_path / "router")
    weights = tmp_path / "router" / "encoder" / "model.safetensors"
    if change is None:
        weights.write_bytes(weights.read_bytes()[:-7])  # the header promises more
    else:
        save_file(change(load_file(weights)), weights)
    manifest = json.loads((tmp_path / "router" / "manifest.json").read_text())
    manifest["sha256"]["encoder/model.safetensors"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (tmp_path / "router" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=message):
        Router.from_pretrained(tmp_path / "router")


def test_encoder_of_a_router_that_was_saved_there_since_is_not_taken(tmp_path: Path) -> None:
    first = small_router(tmp_path, save_encoder=save_static)
    first.save_pretrained(tmp_path / "router")
    early, same = (Router.from_pretrained(tmp_path / "router") for _ in range(2))
    Router.from_pretrained(tmp_path / "router").save_pretrained(tmp_path / "router")
    assert torch.equal(same.estimate_error(TEXTS), first.estimate_error(TEXTS))  # the same weights again
    first.encoder.table.mul_(torch.linspace(0.5, 2, len(first.encoder.table))[:, None])
    first.save_pretrained(tmp_path / "other")
    (tmp_path / "router").rename(tmp_path / "before")
    (tmp_path / "other").rename(tmp_path / "router")
    with pytest.raises(ArtifactError, match="another router was saved here since"):
        early.route(TEXTS)
