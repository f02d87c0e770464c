import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from unirouter_torch import storage
from unirouter_torch.errors import ArtifactError
from unirouter_torch.storage import (
    atomic_folder,
    check_folder,
    digest_of_tensors,
    read_json,
    read_tensors,
    write_atomically,
    write_json,
    write_tensors,
)


def save(folder: Path, text: str = "content") -> None:
    with atomic_folder(folder, "thing", 1) as target:
        (target / "inner").mkdir()
        (target / "inner" / "file.txt").write_text(text)


def test_folder_appears_whole_and_passes_its_check(tmp_path: Path) -> None:
    save(tmp_path / "thing")
    check_folder(tmp_path / "thing", "thing", 1)
    assert (tmp_path / "thing" / "inner" / "file.txt").read_text() == "content"
    assert [item.name for item in tmp_path.iterdir()] == ["thing"]


def test_saving_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    save(tmp_path / "thing", "old")
    save(tmp_path / "thing", "new")
    check_folder(tmp_path / "thing", "thing", 1)
    assert (tmp_path / "thing" / "inner" / "file.txt").read_text() == "new"
    assert [item.name for item in tmp_path.iterdir()] == ["thing"]


def test_failure_while_writing_leaves_the_old_folder_untouched(tmp_path: Path) -> None:
    save(tmp_path / "thing", "old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "thing", "thing", 1) as target:
        (target / "half.txt").write_text("half")
        raise RuntimeError
    check_folder(tmp_path / "thing", "thing", 1)
    assert not (tmp_path / "thing" / "half.txt").exists()
    assert [item.name for item in tmp_path.iterdir()] == ["thing"]


@pytest.mark.parametrize("kind", [SafetensorError, Exception])
def test_full_disk_while_others_write_is_told_and_leaves_nothing(tmp_path: Path, kind: type[Exception]) -> None:
    told = pytest.raises(ArtifactError, match=r"router: cannot be written .*No space left")
    with told, atomic_folder(tmp_path / "router", "router", 1):
        raise kind("No space left on device (os error 28)")
    assert not list(tmp_path.iterdir())


def test_folder_with_other_content_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "precious.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="refusing to replace"):
        save(tmp_path / "thing")
    assert (tmp_path / "thing" / "precious.txt").read_text() == "mine"


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: damage(folder / "inner" / "file.txt"), "checksum"),
        (lambda folder: (folder / "inner" / "file.txt").unlink(), "missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "expected JSON"),
        (lambda folder: (folder / "manifest.json").write_text('{"kind": "other"}'), "expected a saved thing"),
        (lambda folder: (folder / "manifest.json").write_text('{"kind": "thing"}'), "damaged manifest"),
    ],
)
def test_damage_is_noticed(tmp_path: Path, harm, message: str) -> None:
    save(tmp_path / "thing")
    harm(tmp_path / "thing")
    with pytest.raises(ArtifactError, match=message):
        check_folder(tmp_path / "thing", "thing", 1)


def test_newer_format_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "thing")
    manifest = tmp_path / "thing" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format_version": 2}))
    with pytest.raises(ArtifactError, match="Upgrade"):
        check_folder(tmp_path / "thing", "thing", 1)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such folder"):
        check_folder(tmp_path / "nothing", "thing", 1)


def test_folder_around_a_saved_one_is_told_from_damage(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "run" / "router", "router", 1) as folder:
        (folder / "file").touch()
    with pytest.raises(ArtifactError, match=f"which is the folder {tmp_path / 'run' / 'router'}"):
        check_folder(tmp_path / "run", "router", 1)


def test_failed_write_keeps_the_old_file_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "file", b"old")

    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_tensors_and_json_come_back_as_written(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor([True])}
    write_tensors(tmp_path / "t", tensors)
    found = read_tensors(tmp_path / "t")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    write_json(tmp_path / "j", {"ä": [1, None]})
    assert read_json(tmp_path / "j") == {"ä": [1, None]}


def test_truncated_tensors_are_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", {"a": torch.zeros(10)})
    (tmp_path / "t").write_bytes((tmp_path / "t").read_bytes()[:-3])
    with pytest.raises(ArtifactError, match="damaged safetensors"):
        read_tensors(tmp_path / "t")


def test_digest_depends_on_values_shapes_and_names_but_not_on_order() -> None:
    a, b = torch.arange(4.0), torch.ones(2)
    digest = digest_of_tensors({"a": a, "b": b})
    assert digest == digest_of_tensors({"b": b, "a": a})
    others = [{"a": a, "c": b}, {"a": a + 1, "b": b}, {"a": a.reshape(2, 2), "b": b}, {"a": a.double(), "b": b}]
    assert len({digest, *(digest_of_tensors(other) for other in others)}) == 5


@pytest.fixture(params=["exchange", "two renames"])
def swap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which a folder takes the place of another one."""
    if request.param == "two renames":
        monkeypatch.setattr(storage, "exchange", lambda *_: False)
    return str(request.param)


@pytest.mark.usefixtures("swap")
def test_folder_that_may_not_be_replaced_after_all_is_put_back(tmp_path: Path) -> None:
    save(tmp_path / "thing", "old")

    def refuse(old: Path) -> None:
        assert (old / "inner" / "file.txt").read_text() == "old"
        raise RuntimeError

    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "thing", "thing", 1, retire=refuse) as target:
        (target / "file.txt").write_text("new")
    check_folder(tmp_path / "thing", "thing", 1)
    assert (tmp_path / "thing" / "inner" / "file.txt").read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["thing"]


def die(path: Path, swap: str) -> None:
    """Save over a folder, and be killed after it was moved and before its successor is sure of its place."""
    if swap == "two renames":
        storage.exchange = lambda *_: False  # type: ignore[assignment]
    with atomic_folder(path, "thing", 1, retire=lambda _: os.kill(os.getpid(), signal.SIGKILL)) as target:
        (target / "file.txt").write_text("new")


def test_folder_is_at_its_path_after_a_kill_in_the_middle_of_the_swap(tmp_path: Path, swap: str) -> None:
    save(tmp_path / "thing", "old")
    process = multiprocessing.get_context("fork").Process(target=die, args=(tmp_path / "thing", swap))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "thing").exists() == (swap == "exchange")
    check_folder(tmp_path / "thing", "thing", 1)
    save(tmp_path / "thing", "newer")
    check_folder(tmp_path / "thing", "thing", 1)
    assert (tmp_path / "thing" / "inner" / "file.txt").read_text() == "newer"


def test_write_finds_the_folder_that_a_kill_left_aside(tmp_path: Path) -> None:
    save(tmp_path / "thing", "old")
    (tmp_path / ".thing.old.x").mkdir()
    (tmp_path / "thing").rename(tmp_path / ".thing.old.x" / "old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "thing", "thing", 1):
        raise RuntimeError
    assert (tmp_path / "thing" / "inner" / "file.txt").read_text() == "old"


def test_exchange_is_one_step_and_says_where_it_cannot(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert not storage.exchange(tmp_path / "a", tmp_path / "missing")
    if storage.exchange(tmp_path / "a", tmp_path / "b"):
        assert (tmp_path / "a" / "b").exists() and (tmp_path / "b" / "a").exists()
