import io
import sys

import pytest

from unirouter_torch.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("enabled", [True, False])
def test_items_pass_through_in_order(enabled: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(iter("otter"), "Counting", total=5, enabled=enabled)) == list("otter")
    assert capsys.readouterr().out == ""


def test_disabled_bar_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    list(progress(range(5), "Counting", enabled=False))
    assert capsys.readouterr().err == ""


def test_bar_ends_at_its_total(capsys: pytest.CaptureFixture[str]) -> None:
    list(progress(range(5), "Counting"))
    assert "Counting: 100%" in capsys.readouterr().err
    list(progress(iter(range(5)), "Counting", total=10))
    assert "5/10" in capsys.readouterr().err


def test_log_file_is_not_flooded(monkeypatch: pytest.MonkeyPatch) -> None:
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        monkeypatch.setattr(sys, "stderr", stream)
        clock = iter(range(0, 10_000, 1))
        monkeypatch.setattr("tqdm.std.time", lambda clock=clock: float(next(clock)))
        list(progress(range(100), "Counting"))
    assert log.getvalue().count("\r") < terminal.getvalue().count("\r") / 5
