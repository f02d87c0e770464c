from dataclasses import replace
from pathlib import Path

import pytest
import tiny_encoder
import torch
from small_router import small_router

from unirouter_torch.encoder.tensor_cache import cache_folder
from unirouter_torch.errors import ConfigError
from unirouter_torch.export.router_export import export_router
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


def test_share_of_equal_choices_falls_with_other_cluster_probabilities(folder: Path, tmp_path: Path) -> None:
    router = Router.from_pretrained(folder)
    calibration = router.calibration
    # each prompt takes the place of another one, as if the backend embedded something else
    probability = torch.eye(router.head.num_clusters)[torch.arange(len(calibration.texts)) % router.head.num_clusters]
    router.calibration = replace(calibration, cluster_probability=probability)
    router.save_pretrained(tmp_path / "router")
    share = Router.from_pretrained(tmp_path / "router", backend="onnx").equal_choices
    chooser = router.chooser()
    tokens = torch.tensor([len(text) / 4 for text in calibration.texts])
    equal = [
        one.choose(router.cluster(calibration.texts), tokens) == one.choose(probability, tokens)
        for one in (chooser.at(weight) for weight in (0.0, 0.1, 1.0))
    ]
    assert share == pytest.approx(torch.stack(equal).double().mean().item())
    assert share < 1


def test_router_on_onnx_is_saved_whole_and_not_exported(folder: Path, tmp_path: Path) -> None:
    router = Router.from_pretrained(folder, backend="onnx")
    router.save_pretrained(tmp_path / "router")
    again = Router.from_pretrained(tmp_path / "router")
    assert torch.equal(again.encoder.embed(["the otter"]), Router.from_pretrained(folder).encoder.embed(["the otter"]))
    with pytest.raises(ConfigError, match=r"encoder\.backend: a router on onnx cannot be exported"):
        export_router(router, "torch", tmp_path / "export")


def test_router_without_llms_has_no_share(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    for name in router.pool.names:
        router.pool = router.pool.without_llm(name)
    router.save_pretrained(tmp_path / "router")
    assert Router.from_pretrained(tmp_path / "router", backend="onnx").equal_choices is None


def test_static_router_refuses_a_backend() -> None:
    with pytest.raises(ConfigError, match="holds a static encoder"):
        Router.from_pretrained("unirouter-static", backend="onnx-int8")
