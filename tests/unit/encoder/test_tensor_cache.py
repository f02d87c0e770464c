"""The folder of the cache; damage and refusal are tested with what is cached."""

from pathlib import Path

import pytest
import torch

from unirouter_torch.encoder.tensor_cache import cache_folder, read_cached, write_cached


def test_folder_is_the_one_asked_for_and_else_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(str(tmp_path / "mine")) == tmp_path / "mine"
    assert cache_folder(None) == tmp_path / "xdg" / "unirouter_torch"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / ".cache" / "unirouter_torch"


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "is_found"),
    [
        ("made", (2, 3), torch.float16, True),
        ("other", (2, 3), torch.float16, False),
        ("made", (3, 2), torch.float16, False),
        ("made", (2, 3), torch.float32, False),
    ],
)
@pytest.mark.filterwarnings("ignore:.*computing it anew")
def test_only_what_is_expected_is_read(
    name: str, shape: tuple[int, int], dtype: torch.dtype, is_found: bool, tmp_path: Path
) -> None:
    kept = torch.arange(6).reshape(2, 3).half()
    write_cached(tmp_path / "file", "made", kept)
    found = read_cached(tmp_path / "file", name, shape, dtype)
    assert (found is not None) is is_found
    assert found is None or torch.equal(found, kept)


def test_file_that_is_not_there_costs_no_warning(tmp_path: Path) -> None:
    assert read_cached(tmp_path / "file", "made", (1,), torch.float32) is None
