from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unirouter_torch.data.texts import read_texts
from unirouter_torch.errors import DataError


def test_lines_of_a_text_file_are_prompts(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("the otter\n\n  sings \n", encoding="utf-8")
    assert read_texts(str(tmp_path / "prompts.txt")) == ["the otter", "sings"]


def test_column_of_a_parquet_file_holds_prompts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["the otter", None, "sings"], "more": [1, 2, 3]}), tmp_path / "logs.parquet")
    assert read_texts(str(tmp_path / "logs.parquet")) == ["the otter", "sings"]


def test_prompts_of_a_table_are_read(tmp_path: Path) -> None:
    assert len(read_texts("simulated:60x6")) == 60


@pytest.mark.parametrize(
    "name", ["missing.txt", "missing.parquet", "binary.txt", "empty.txt", "column.parquet", "number.parquet"]
)
def test_what_holds_no_prompts_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.txt").write_text("\n")
    pq.write_table(pa.table({"other": ["a"]}), tmp_path / "column.parquet")
    pq.write_table(pa.table({"prompt": [1]}), tmp_path / "number.parquet")
    with pytest.raises(DataError, match=name):
        read_texts(str(tmp_path / name))
