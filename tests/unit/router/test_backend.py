from dataclasses import replace
from pathlib import Path

import pytest
import tiny_encoder
import torch
from small_router import PROMPTS, small_router

from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.encoder.tensor_cache import cache_folder
from unirouter_torch.errors import ConfigError
from unirouter_torch.export.router_export import export_router
from unirouter_torch.router.backend import share_of_equal_choices
from unirouter_torch.router.router import Router

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield cache_folder(None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved router over a tiny BERT."""
    root = tmp_path_factory.mktemp("router")
    small_router(root).save_pretrained(root / "router")
    return root / "router"


def test_saved_router_chooses_on_onnx_as_on_torch(folder: Path) -> None:
    expected, router = Router.from_pretrained(folder), Router.from_pretrained(folder, backend="onnx")
    assert (expected.equal_choices, router.equal_choices) == (None, 1.0)
    assert router.encoder.backend == "onnx"
    torch.testing.assert_close(
        router.estimate_error(tiny_encoder.PROMPTS), expected.estimate_error(tiny_encoder.PROMPTS), rtol=0, atol=1e-5
    )


def test_share_is_that_of_choices_by_the_saved_cluster_probabilities(folder: Path) -> None:
    router, texts = Router.from_pretrained(folder), list(PROMPTS.values())
    with torch.no_grad():  # each prompt in a cluster of its own kind
        router.head.linear.weight.mul_(100)
        router.head.linear.bias.copy_(-router.head.linear.weight @ router.encoder.embed(texts).mean(0))
        router.head.log_shrinkage.fill_(-5)
    # each LLM is right on one prompt alone, and all cost the same: the cluster decides
    scores = {f"{right} alone": {name: float(name == right) for name in PROMPTS} for right in PROMPTS}
    router.calibrate(PROMPTS, scores, dict.fromkeys(scores, 1.0))
    assert share_of_equal_choices(router) == 1
    own = router.cluster(texts)
    other = own.roll(1, dims=0)  # as if the backend embedded another prompt
    router.calibration = replace(router.calibration, cluster_probability=other)
    chooser, tokens = router.chooser(), count_tokens(texts)
    equal = [one.choose(own, tokens) == one.choose(other, tokens) for one in map(chooser.at, (0.0, 0.1, 1.0))]
    share = share_of_equal_choices(router)
    assert share == pytest.approx(torch.stack(equal).double().mean().item())
    assert 0 <= share < 1


def test_router_on_onnx_is_saved_whole_and_not_exported(folder: Path, tmp_path: Path) -> None:
    router = Router.from_pretrained(folder, backend="onnx")
    router.save_pretrained(tmp_path / "router")
    again = Router.from_pretrained(tmp_path / "router")
    assert torch.equal(again.encoder.embed(["the otter"]), Router.from_pretrained(folder).encoder.embed(["the otter"]))
    with pytest.raises(ConfigError, match=r"encoder\.backend: a router on onnx cannot be exported"):
        export_router(router, "torch", tmp_path / "export")


def test_static_router_refuses_a_backend() -> None:
    with pytest.raises(ConfigError, match="holds a static encoder"):
        Router.from_pretrained("unirouter-static", backend="onnx-int8")
