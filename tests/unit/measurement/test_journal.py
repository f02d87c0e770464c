from pathlib import Path

import pytest

from unirouter_torch.errors import JournalError
from unirouter_torch.measurement.journal import Journal


def test_answers_and_dollars_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "journal.jsonl"
    with Journal(path) as journal:
        journal.keep(journal.send(1.0), 0.25, "a", {"text": "ä\u2028"})
        journal.settle(journal.send(1.0), 0.5, "timed out")
        assert journal.dollars == 0.75
    with Journal(path) as journal:
        assert journal.find("a") == {"text": "ä\u2028"} and journal.find("b") is None
        assert journal.dollars == 0.75


def test_call_that_never_ended_counts_with_its_worst_case(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        first, second = journal.send(1.0), journal.send(2.0)
        assert first != second
        journal.settle(second, 0.0, "status 500")
    with Journal(path) as journal:
        assert journal.dollars == 1.0
        assert journal.send(1.0) not in (first, second)


def test_line_that_a_kill_cut_off_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.keep(journal.send(1.0), 0.25, "a", {"text": "x"})
    with path.open("ab") as file:
        file.write(b'{"call": 1, "doll')
    with Journal(path) as journal:
        assert journal.dollars == 0.25
        journal.keep(journal.send(1.0), 0.25, "b", {"text": "y"})
    with Journal(path) as journal:
        assert journal.find("a") and journal.find("b")


def test_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"call": 0, "dollars": 1.0}\nhello\n')
    with pytest.raises(JournalError, match="line 2"):
        Journal(path)


def test_second_process_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl"), pytest.raises(JournalError, match="another process"):
        Journal(tmp_path / "journal.jsonl")
