"""Changes of the pool in a router's folder."""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_router import COST, PROMPTS, SCORES, small_router

from unirouter_torch import storage
from unirouter_torch.errors import ArtifactError, PoolConflictError, PoolError
from unirouter_torch.router.calibration import TokenPrices
from unirouter_torch.router.pool_history import _settings_of, pool_digest
from unirouter_torch.router.router import Router
from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.storage import read_json, read_tensors, sha256_of_file, write_json, write_tensors


@pytest.fixture
def router(tmp_path: Path) -> Router:
    router = small_router(tmp_path)
    router.save_pretrained(tmp_path / "router")
    return router


@pytest.fixture
def folder(router: Router, tmp_path: Path) -> Path:
    return tmp_path / "router"


def content(pool: LLMPool) -> tuple[object, ...]:
    sums = tuple(part.tolist() for part in pool.sums)
    return pool.names, pool.cost.tolist(), sums, pool.available.tolist(), pool.reference_cost, pool.cost_unit


def reprice(router: Router, cost: float) -> None:
    router.pool = router.pool.with_changes("small", cost=cost)
    router.save_pool(f"reprice small to {cost:g}")


def state_of_files(folder: Path) -> dict[str, tuple[int, int]]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def test_saved_change_adds_one_file_and_touches_no_other(router: Router, folder: Path) -> None:
    before = state_of_files(folder)
    reprice(router, 0.3)
    after = state_of_files(folder)
    assert set(after) - set(before) == {"pool/000001.safetensors"}
    assert {name: after[name] for name in before} == before


def test_loaded_router_has_the_pool_of_the_latest_revision(router: Router, folder: Path) -> None:
    router.add_llm("new", {"p0": 0.25, "p3": 1.0}, 0.7)
    router.pool = router.pool.with_changes("large", is_available=False)
    router.save_pool("add new, disable large")
    loaded = Router.from_pretrained(folder)
    assert content(loaded.pool) == content(router.pool)
    assert loaded.route(list(PROMPTS.values())) == router.route(list(PROMPTS.values()))


def test_history_tells_who_when_what_and_from_which_file(router: Router, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("abc")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "part").write_text("abc")
    router.save_pool("first", data=tmp_path / "scores.csv")
    router.save_pool("second", data=tmp_path / "logs")
    assert router.saved is not None
    zero, first, second = (revision.change for revision in router.saved.history())
    assert (zero.who, zero.when, zero.data, zero.restores) == ("", "", "", None)
    assert (first.what, first.data) == ("first", "scores.csv")
    assert first.who and first.when.endswith("+00:00")
    assert first.data_sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert second.data == "logs" and second.data_sha256 not in ("", first.data_sha256)


def test_equal_routers_are_saved_as_equal_files(router: Router, folder: Path, tmp_path: Path) -> None:
    small_router(tmp_path / "again").save_pretrained(tmp_path / "second")
    first, second = (read_json(place / "manifest.json")["sha256"] for place in (folder, tmp_path / "second"))
    assert first["pool/000000.safetensors"] == second["pool/000000.safetensors"]


def test_second_of_two_writers_is_refused_and_may_repeat_its_change(router: Router, folder: Path) -> None:
    other = Router.from_pretrained(folder)
    reprice(other, 0.3)
    with pytest.raises(PoolConflictError, match=r"changed the pool meanwhile \(reprice small to 0\.3"):
        reprice(router, 0.4)
    assert router.reload_pool()
    assert router.pool.cost.tolist() == other.pool.cost.tolist()
    reprice(router, 0.4)
    assert [path.name for path in sorted((folder / "pool").iterdir())] == [f"00000{n}.safetensors" for n in range(3)]


def test_reload_takes_over_the_changes_of_others_and_drops_unsaved_ones(router: Router, folder: Path) -> None:
    other = Router.from_pretrained(folder)
    assert not router.reload_pool()
    reprice(other, 0.3)
    router.pool = router.pool.without_llm("large")
    assert router.reload_pool()
    assert content(router.pool) == content(other.pool)


def test_undo_goes_back_step_by_step_and_to_brings_any_revision_back(router: Router) -> None:
    states = [content(router.pool)]
    for cost in (0.3, 0.4):
        reprice(router, cost)
        states.append(content(router.pool))
    router.undo_pool()
    assert content(router.pool) == states[1]
    router.undo_pool()
    assert content(router.pool) == states[0]
    with pytest.raises(PoolError, match="nothing is left to undo"):
        router.undo_pool()
    router.undo_pool(to=2)
    assert content(router.pool) == states[2]
    router.undo_pool()
    assert content(router.pool) == states[1]
    reprice(router, 0.5)
    router.undo_pool()
    assert content(router.pool) == states[1]
    with pytest.raises(ArtifactError, match="no revision 99"):
        router.undo_pool(to=99)


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty"])
def test_damaged_revision_leaves_a_running_router_as_it_was(router: Router, folder: Path, harm: str) -> None:
    other = Router.from_pretrained(folder)
    reprice(other, 0.3)
    path = folder / "pool" / "000001.safetensors"
    whole = path.read_bytes()
    position = whole.index(b"reprice small")
    flipped = whole[:position] + b"R" + whole[position + 1 :]
    path.write_bytes({"truncate": whole[:-5], "flip": flipped, "empty": b""}[harm])
    before = content(router.pool)
    with pytest.raises(ArtifactError, match="damaged"):
        router.reload_pool()
    assert content(router.pool) == before
    assert router.route(["a"])
    with pytest.raises(ArtifactError, match=r"000001\.safetensors: damaged.*Remove the file"):
        Router.from_pretrained(folder)
    path.unlink()
    assert content(Router.from_pretrained(folder).pool) == before


def test_every_flipped_byte_of_a_revision_is_noticed(router: Router, folder: Path) -> None:
    path = folder / "pool" / "000000.safetensors"
    whole = path.read_bytes()
    for position in range(8, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        with pytest.raises(ArtifactError):
            router.reload_pool()


def test_pool_of_another_head_is_refused(router: Router, folder: Path, tmp_path: Path) -> None:
    other = small_router(tmp_path / "other")
    with torch.no_grad():
        other.head.difficulty.add_(1.0)
    other.save_pretrained(tmp_path / "second")
    reprice(other, 0.3)
    (tmp_path / "second" / "pool" / "000001.safetensors").rename(folder / "pool" / "000001.safetensors")
    with pytest.raises(ArtifactError, match="another head"):
        router.reload_pool()
    with pytest.raises(ArtifactError, match="another head"):
        Router.from_pretrained(folder)


def to_format_1(folder: Path) -> None:
    """Rewrite a router's folder as version 1 had it: the pool in ``router.safetensors`` and ``router.json``."""
    pool = Router.from_pretrained(folder).pool
    tensors = {"pool.cost": pool.cost, "pool.error_sum": pool.sums.error, "pool.weight_sum": pool.sums.weight}
    write_tensors(folder / "router.safetensors", read_tensors(folder / "router.safetensors") | tensors)
    facts = {key: getattr(pool, key) for key in ("cost_unit", "cost_is_estimate", "reference_cost")}
    settings = read_json(folder / "router.json") | {"pool": {"names": list(pool.names)} | facts}
    del settings["reading"]  # which came later too
    write_json(folder / "router.json", settings)
    shutil.rmtree(folder / "pool")
    checksums = {
        file.relative_to(folder).as_posix(): sha256_of_file(file)
        for file in folder.rglob("*")
        if file.is_file() and file.name != "manifest.json"
    }
    write_json(folder / "manifest.json", {"kind": "router", "format_version": 1, "sha256": checksums})


def test_folder_of_format_1_is_read_and_raised_by_its_first_change(folder: Path) -> None:
    prompts, now = ["the otter sings", "a red clock"], Router.from_pretrained(folder)
    before, routes = content(now.pool), now.route(prompts)
    to_format_1(folder)
    router = Router.from_pretrained(folder)
    assert content(router.pool) == before
    assert router.route(prompts) == routes and router.conversation == now.conversation
    router.save_pretrained(folder.parent / "saved by this version")
    assert Router.from_pretrained(folder.parent / "saved by this version").route(prompts) == routes
    router = Router.from_pretrained(folder)
    assert not router.reload_pool()
    assert read_json(folder / "manifest.json")["format_version"] == 1
    reprice(router, 0.3)
    assert read_json(folder / "manifest.json")["format_version"] == 2
    assert content(Router.from_pretrained(folder).pool) == content(router.pool)
    router.undo_pool()
    assert content(Router.from_pretrained(folder).pool) == before


def test_saving_whole_goes_on_with_the_history_in_place_and_starts_it_anew_elsewhere(
    router: Router, folder: Path, tmp_path: Path
) -> None:
    reprice(router, 0.3)
    changed = content(router.pool)
    router.pool = router.pool.without_llm("other")
    router.save_pretrained(folder)
    assert router.saved is not None and router.saved.revision.number == 2
    router.save_pretrained(tmp_path / "elsewhere")
    assert router.saved.revision.number == 0
    loaded = Router.from_pretrained(folder)
    loaded.undo_pool()
    assert content(loaded.pool) == changed


def test_saving_whole_over_the_change_of_another_is_refused(router: Router, folder: Path) -> None:
    reprice(Router.from_pretrained(folder), 0.3)
    with pytest.raises(PoolConflictError, match="meanwhile"):
        router.save_pretrained(folder)
    assert Router.from_pretrained(folder).pool.cost[0] == 0.3


def test_router_outside_a_folder_has_nothing_to_save_to(router: Router) -> None:
    router.calibrate(PROMPTS, SCORES, COST)
    for act in (lambda: router.save_pool("x"), router.reload_pool, router.undo_pool):
        with pytest.raises(PoolError, match="Call save_pretrained first"):
            act()


def test_unnamed_user_can_change_the_pool(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise OSError

    monkeypatch.setattr("getpass.getuser", fail)
    reprice(router, 0.3)
    assert router.saved is not None and router.saved.revision.change.who == "unknown"


def test_undoing_in_vain_still_takes_over_what_others_wrote(router: Router, folder: Path) -> None:
    other = Router.from_pretrained(folder)
    reprice(other, 0.3)
    other.undo_pool()
    router.pool = router.pool.without_llm("large")
    with pytest.raises(PoolError, match="nothing is left"):
        router.undo_pool()
    assert content(router.pool) == content(other.pool)


def test_disabled_llm_is_not_chosen_until_enabled_again(router: Router) -> None:
    prompts = list(PROMPTS.values())
    chosen = router.route(prompts, cost_weight=100.0)
    assert {route.llm for route in chosen} == {"small"}
    router.pool = router.pool.with_changes("small", is_available=False)
    without = router.route(prompts, cost_weight=100.0)
    assert {route.llm for route in without} == {"other"}
    assert [route.estimated_error for route in without] == [route.estimated_error for route in chosen]
    router.pool = router.pool.with_changes("small", is_available=True)
    assert router.route(prompts, cost_weight=100.0) == chosen


@pytest.mark.parametrize("act", ["change", "undo", "first change of format 1"])
def test_a_kill_at_any_step_of_a_change_loses_nothing(router: Router, folder: Path, act: str) -> None:
    reprice(router, 0.2)
    if act == "first change of format 1":
        to_format_1(folder)
    before, number = content(router.pool), 0
    while True:
        number += 1
        copy = shutil.copytree(folder, folder.parent / f"copy{number}")
        loaded = Router.from_pretrained(copy)
        was_killed = killed_at(number, copy, loaded.undo_pool if act == "undo" else lambda: reprice(loaded, 0.3))  # noqa: B023
        after = content(Router.from_pretrained(copy).pool)
        if not was_killed:
            break
        assert after == before or after[1][0] == (0.1 if act == "undo" else 0.3)
        reprice(Router.from_pretrained(copy), 0.7)
    assert number > 5 and after != before


def killed_at(step: int, folder: Path, act: Callable[[], None]) -> bool:
    """Do something in a child that is killed before its n-th access to the folder; whether it came so far."""
    accesses = itertools.count(1)

    def kill(event: str, arguments: tuple[object, ...]) -> None:
        is_access = event == "open" or event.startswith("os.")
        if is_access and any(str(folder) in str(argument) for argument in arguments) and next(accesses) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        sys.addaudithook(kill)
        act()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_token_costs_survive_a_round_trip_and_route_alike(router: Router, folder: Path) -> None:
    tokens = TokenPrices(price_in=0.01, price_out=0.02, output_tokens={"p0": 50.0, "p3": 10.0})
    router.add_llm("metered", {"p0": 1.0, "p1": 1.0}, 0.05, tokens=tokens)
    router.save_pool("add metered")
    loaded = Router.from_pretrained(folder)
    prompts = [*PROMPTS.values(), "kites " * 30]
    for weight in (0.0, 0.1, 1.0, 10.0):
        assert loaded.route(prompts, weight) == router.route(prompts, weight)
        for route in router.route(prompts, weight):
            total = {llm: error + weight * route.cost[llm] / 2.0 for llm, error in route.estimated_error.items()}
            assert total[route.llm] == pytest.approx(min(total.values()), abs=1e-5)
    assert len({route.cost["metered"] for route in router.route(prompts)}) == len(prompts)


@pytest.mark.parametrize("lengths", [{}, {"nowhere": 1.0}, {"p0": -1.0}])
def test_lengths_that_make_no_sense_are_refused(router: Router, lengths: dict[str, float]) -> None:
    with pytest.raises(PoolError, match="output tokens"):
        router.add_llm("new", {"p0": 1.0}, 0.0, tokens=TokenPrices(price_in=1.0, price_out=1.0, output_tokens=lengths))


def test_latency_is_kept_and_a_pool_without_any_is_saved_as_before_there_was_one(router: Router, folder: Path) -> None:
    assert "latency" not in _settings_of(router.pool)
    router.pool = router.pool.with_changes("large", latency=Latency(seconds=1.5))
    router.save_pool("time large")
    loaded = Router.from_pretrained(folder)
    assert [llm.latency for llm in loaded.pool.llms] == [None, Latency(seconds=1.5), None]
    loaded.undo_pool()
    assert not any(llm.latency for llm in loaded.pool.llms)


def test_context_survives_a_round_trip_and_a_pool_without_any_is_written_as_before(
    router: Router, folder: Path
) -> None:
    plain = pool_digest(router.pool)
    router.pool = router.pool.with_changes("large", context_tokens=8192)
    assert pool_digest(router.pool) != plain
    router.save_pool("context")
    loaded = Router.from_pretrained(folder)
    assert [llm.context_tokens for llm in loaded.pool.llms] == [None, 8192, None]
    loaded.undo_pool()
    assert pool_digest(loaded.pool) == plain


@pytest.mark.parametrize("moment", ["while the encoder is written", "while files are hashed", "at the swap"])
@pytest.mark.parametrize("swap", ["exchange", "two renames"])
def test_change_that_comes_while_the_router_is_saved_again_is_never_lost(
    router: Router, folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str, swap: str
) -> None:
    other = Router.from_pretrained(folder)
    module, name = {
        "while the encoder is written": (type(router.encoder), "save_pretrained"),
        "while files are hashed": (storage, "sha256_of_file"),
        "at the swap": (storage, "_swap"),
    }[moment]
    work, left = getattr(module, name), [lambda: reprice(other, 0.7)]

    def interrupted(*arguments: object, **options: object) -> object:
        if left:
            left.pop()()
        return work(*arguments, **options)

    if swap == "two renames":
        monkeypatch.setattr(storage, "exchange", lambda *_: False)
    router.pool = router.pool.with_changes("large", cost=9.0)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, interrupted)
        with pytest.raises(PoolConflictError, match=r"reprice small to 0\.7"):
            router.save_pretrained(folder)
    loaded = Router.from_pretrained(folder)
    assert loaded.pool.cost.tolist() == [0.7, 2.0, 0.5] and not left
    router.reload_pool()
    router.pool = router.pool.with_changes("large", cost=9.0)
    router.save_pretrained(folder)
    assert Router.from_pretrained(folder).pool.cost.tolist() == [0.7, 9.0, 0.5]
