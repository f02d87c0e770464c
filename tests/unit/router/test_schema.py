"""Mutations of a saved router, its checksums made anew: each is refused with one line that names the file."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_router import small_router
from torch import Tensor

from unirouter_torch.errors import ArtifactError
from unirouter_torch.router.calibration import TokenPrices
from unirouter_torch.router.pool_history import _digest
from unirouter_torch.router.router import Router
from unirouter_torch.routing.latency import Latency

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A router with everything that a pool can hold."""
    folder = tmp_path_factory.mktemp("saved")
    router = small_router(folder)
    prices = TokenPrices(price_in=0.1, price_out=0.2, output_tokens={"p0": 7.0, "p1": 9.0})
    router.add_llm("metered", {"p0": 1.0, "p1": 0.0}, 0.0, tokens=prices)
    router.observe("small", ["the otter sings"], [0.0])
    router.pool = router.pool.with_changes("small", latency=Latency(seconds=1.5))
    router.save_pretrained(folder / "router")
    return folder / "router"


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    target = tmp_path / "router"
    for file in saved.rglob("*"):
        if file.is_file():
            copy = target / file.relative_to(saved)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    return target


def make_checksums(folder: Path) -> None:
    """A manifest with checksums of the files as they are."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["sha256"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def change_json(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    content = json.loads((folder / name).read_text())
    changed = change(content)
    (folder / name).write_text(json.dumps(content if changed is None else changed))
    if name != "manifest.json":
        make_checksums(folder)


def change_tensors(folder: Path, change: Callable[[Tensors], Any]) -> None:
    tensors = load_file(folder / "router.safetensors")
    change(tensors)
    save_file(tensors, folder / "router.safetensors")
    make_checksums(folder)


def change_pool(folder: Path, change: Callable[[Tensors, dict[str, Any]], Any]) -> None:
    path = folder / "pool" / "000000.safetensors"
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        notes = json.loads(file.metadata()["revision"])
    change(tensors, notes)
    notes["sha256"] = _digest(tensors, {name: value for name, value in notes.items() if name != "sha256"})
    save_file(tensors, path, metadata={"revision": json.dumps(notes)})
    make_checksums(folder)


def refused(folder: Path) -> str:
    with pytest.raises(ArtifactError) as found:
        Router.from_pretrained(folder)
    assert "\n" not in str(found.value) and str(folder) in str(found.value)
    return str(found.value)


def test_untouched_router_loads(folder: Path) -> None:
    make_checksums(folder)
    router = Router.from_pretrained(folder)
    assert all(any(getattr(llm, name) for llm in router.pool.llms) for name in ("latency", "token_cost", "drift"))


def scaled(name: str, factor: float) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: tensors[name] * factor})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t["head.log_shrinkage"].fill_(torch.nan), "head.log_shrinkage: got nan"),
        (lambda t: t["head.log_shrinkage"].fill_(torch.inf), "head.log_shrinkage: got inf"),
        (lambda t: t["head.log_shrinkage"].fill_(500), "head.log_shrinkage: got 500"),
        (scaled("head.linear.weight", torch.inf), "head.linear.weight: got"),
        (lambda t: t.pop("head.difficulty"), "head.difficulty is missing"),
        (lambda t: t.update({"head.difficulty": torch.zeros(7)}), "head.difficulty: got shape"),
        (lambda t: t.update({"head.linear.bias": t["head.linear.bias"].double()}), "of torch.float64"),
        (
            lambda t: t.update({"head.linear.weight": torch.zeros(3, 5)}),
            "made with another head",
        ),
        (lambda t: t.update({"head.far": torch.tensor([1.0, 0.0])}), "width is not positive"),
        (lambda t: t.update({"head.more": torch.zeros(1)}), "unknown tensor 'head.more'"),
        (scaled("calibration.cluster_probability", 0.5), "does not sum to 1"),
        (scaled("calibration.cluster_probability", -1), "calibration.cluster_probability: got -"),
        (lambda t: t.update({"calibration.offset": torch.zeros(5)}), "calibration.slope is missing"),
        (lambda t: t["calibration.ability_spread"].fill_(-1), "ability_spread: got -1"),
    ],
)
def test_tensors_of_another_kind_are_refused(folder: Path, change: Callable[[Tensors], Any], what: str) -> None:
    change_tensors(folder, change)
    assert what in refused(folder)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t, _: t["error_sum"].fill_(-1), "error_sum: got -1"),
        (lambda t, _: t["weight_sum"].fill_(1e20), "weight_sum: got 1e+20"),
        (lambda t, _: t["error_sum"].fill_(1e6), "more errors than prompts"),
        (lambda t, _: t["weight_sum"].fill_(torch.nan), "weight_sum: got nan"),
        (lambda t, _: t["cost"].fill_(-1), "cost: got -1"),
        (lambda t, _: t.pop("cost"), "cost is missing"),
        (lambda t, _: t.update({name: t[name][:, :2].contiguous() for name in t if name.endswith("_sum")
                                and not name.startswith("t")}), "token_sum: got shape"),
        (lambda t, _: t["drift.wealth"].fill_(torch.inf), "drift.wealth: got inf"),
        (lambda t, _: t["token_sum"].fill_(-1), "token_sum: got -1"),
        (lambda _, n: n["pool"].update(names=n["pool"]["names"] + ["more"]), "cost: got shape"),
        (lambda _, n: n["pool"].update(names=["small", "small", "other", "metered"]), "occurs more than once"),
        (lambda _, n: n["pool"].update(names=[1, 2, 3, 4]), "names.0"),
        (lambda _, n: n["pool"].update(reference_cost=-1), "reference_cost"),
        (lambda _, n: n["pool"].update(reference_cost=True), "reference_cost"),
        (lambda _, n: n["pool"].update(disabled=["nobody"]), "no LLM named 'nobody'"),
        (lambda _, n: n["pool"]["drift"][0].update(num_prompts=-1), "num_prompts"),
        (lambda _, n: n["pool"]["drift"][0].update(llm="nobody"), "no LLM named 'nobody'"),
        (lambda _, n: n["pool"].update(token_prices={"metered": [1.0]}), "token_prices"),
        (lambda _, n: n["pool"].update(target={"kind": "luck", "value": 1}), "target.kind"),
        (lambda _, n: n["pool"].update(latency={"small": {"seconds": "soon"}}), "latency"),
        (lambda _, n: n.pop("change"), "change"),
        (lambda _, n: n.update(head_sha256=7), "head_sha256"),
    ],
)  # fmt: skip
def test_pools_of_another_kind_are_refused(folder: Path, change: Callable[..., Any], what: str) -> None:
    change_pool(folder, change)
    assert what in refused(folder)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda c: c[0].update(prompt=""), "0.prompt"),
        (lambda c: c[0].update(prompt=7), "0.prompt"),
        (lambda c: c[1].update(prompt_id=c[0]["prompt_id"]), "stands twice"),
        (lambda c: (c[1].pop("prompt_id"), None)[1], "1.prompt_id"),
        (lambda c: (c.pop(), None)[1], "calibration.cluster_probability: got shape"),
        (lambda _: {"prompts": []}, "valid list"),
    ],
)
def test_calibration_prompts_of_another_kind_are_refused(folder: Path, change: Any, what: str) -> None:
    change_json(folder, "calibration_prompts.json", change)
    assert what in refused(folder)


@pytest.mark.parametrize("name", ["router.json", "calibration_prompts.json", "encoder/config.json", "manifest.json"])
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"1" * 5000, b'{"about": NaN}', b"\xff", b"null", b"[]", b"", b'{"about": 7}', b"{}"]
)
def test_json_of_another_kind_is_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    if name != "manifest.json":
        make_checksums(folder)
    refused(folder)


@pytest.mark.parametrize("version", [0, -1, True, 1.5, "1", None])
def test_format_versions_that_are_none_are_refused(folder: Path, version: Any) -> None:
    change_json(folder, "manifest.json", lambda manifest: manifest.update(format_version=version))
    assert "damaged manifest (format_version" in refused(folder)


@pytest.mark.parametrize(
    ("checksums", "what"),
    [
        ({}, "damaged manifest"),
        (None, "damaged manifest"),
        ({"../router.json": "0" * 64}, "damaged manifest"),
        ({"encoder/../../router.json": "0" * 64}, "damaged manifest"),
        ({"/etc/hosts": "0" * 64}, "damaged manifest"),
        ({"router.json": "0"}, "damaged manifest"),
        ({"router.json": "0" * 64}, "not part of the saved router"),
    ],
)
def test_checksums_that_are_missing_or_lead_out_of_the_folder_are_refused(
    folder: Path, checksums: Any, what: str
) -> None:
    change_json(folder, "manifest.json", lambda manifest: manifest.update(sha256=checksums))
    assert what in refused(folder)


def test_files_beside_those_of_the_manifest_are_refused_but_for_revisions_and_hidden_ones(folder: Path) -> None:
    (folder / ".gitattributes").write_text("mine")
    (folder / "pool" / ".000001.safetensors.left").write_text("of a killed process")
    router = Router.from_pretrained(folder)
    router.pool = router.pool.with_changes("small", cost=0.2)
    router.save_pool("reprice")
    assert Router.from_pretrained(folder).pool.cost[0] == 0.2
    (folder / "encoder" / "more.py").write_text("print()")
    assert "encoder/more.py: not part of the saved router" in refused(folder)


@pytest.mark.parametrize("name", ["router.json", "router.safetensors", "pool/000001.safetensors", "more"])
def test_named_pipe_is_refused_and_hangs_nobody(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert "expected a file" in refused(folder)


def test_encoder_with_numbers_that_are_not_finite_is_refused_when_it_is_read(folder: Path) -> None:
    path = folder / "encoder" / "model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values())).fill_(torch.inf)
    save_file(tensors, path, metadata={"format": "pt"})
    make_checksums(folder)
    router = Router.from_pretrained(folder)
    for _ in range(2):  # and again, as it is not there
        with pytest.raises(ArtifactError, match=rf"{folder}.*not finite"):
            router.route(["the otter sings"])
