from pathlib import Path

import pytest

from unirouter_torch.errors import DataError
from unirouter_torch.measurement.references import read_references


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    table = written(tmp_path, "a.csv", '\ufeffprompt_id,other,reference\n1,x,"B, or\nC"\n2,,4\n')
    lines = written(
        tmp_path, "a.jsonl", '{"prompt_id": 1, "reference": "B, or\\nC"}\n\n{"prompt_id": "2", "reference": 4}'
    )
    assert read_references(table) == read_references(lines) == {"1": "B, or\nC", "2": "4"}


def test_reference_that_is_no_text_is_kept_as_json(tmp_path: Path) -> None:
    lines = written(tmp_path, "a.jsonl", '{"prompt_id": "a", "reference": {"city": "Líma"}}')
    assert read_references(lines) == {"a": '{"city": "Líma"}'}


def test_rows_without_a_reference_and_equal_rows_are_no_mistake(tmp_path: Path) -> None:
    table = written(tmp_path, "a.csv", "Prompt_ID, Reference\n1, B\n2,\n3, \n1, B\n")
    lines = written(tmp_path, "a.jsonl", '{"prompt_id": 1, "reference": "B"}\n{"prompt_id": 2, "reference": null}')
    assert read_references(table) == read_references(lines) == {"1": "B"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "no rows"),
        ("a.csv", "", "no rows"),
        ("a.csv", "prompt_id,answer\n1,2\n", "no column 'reference'"),
        ("a.csv", "prompt_id,reference\n1\n", "row 1: got 1 cells, expected 2"),
        ("a.csv", "prompt_id,reference\n1,2\n1,3\n", "row 2: .*two references"),
        ("a.csv", b"prompt_id,reference\n1,\xff\n", "line 2: expected UTF-8"),
        ("a.csv", 'prompt_id,reference\n1,"2\n', "row 1: a quote that opens there is never closed"),
        ("a.jsonl", "{}\n", "no column 'prompt_id'"),
        ("a.jsonl", '{"prompt_id": null, "reference": "B"}\n', "row 1: no prompt_id"),
        ("a.json", "[[]]\n", "entry 1: got a list, expected a JSON object"),
        ("a.jsonl", "{\n", "line 1: expected JSON"),
    ],
)
def test_file_that_cannot_be_used_is_refused(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_references(written(tmp_path, name, content))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        read_references(tmp_path / "gone.csv")
