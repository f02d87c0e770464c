import weakref
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from unirouter_torch.data.shards import Answers, answer_shard, count_prompts, find_shards, refuse_same_place
from unirouter_torch.errors import ConfigError, DataError


def answer(prompts: list[str]) -> Answers:
    return Answers(
        llm=[f"for {prompt}" for prompt in prompts],
        estimated_error=torch.arange(len(prompts)) / 10,
        estimated_errors=torch.tensor([[0.0, 0.5]]).repeat(len(prompts), 1),
    )


def write(path: Path, prompts: list[str | None], kind: pa.DataType | None = None, **columns: object) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(pa.table({"prompt": pa.array(prompts, kind or pa.string()), **columns}), path)
    return path


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_answers_stand_beside_the_columns_that_were_there(tmp_path: Path, kind: pa.DataType) -> None:
    prompts = [f"prompt {number % 4}" for number in range(7)]
    shard = write(tmp_path / "in.parquet", prompts, kind, user=pa.array(range(7)))
    answer_shard(shard, tmp_path / "out.parquet", "prompt", 3, answer)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["prompt", "user", "llm", "estimated_error", "estimated_errors"]
    assert table.select(["prompt", "user"]).equals(pq.read_table(shard))
    assert table["llm"].to_pylist() == [f"for {prompt}" for prompt in prompts]
    assert table["estimated_error"].to_pylist() == pytest.approx([0.0, 0.1, 0.2, 0.0, 0.1, 0.2, 0.0])
    assert table["estimated_errors"].to_pylist() == [[0.0, 0.5]] * 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]


def test_shard_without_prompts_keeps_its_columns(tmp_path: Path) -> None:
    shard = write(tmp_path / "in.parquet", [])
    answer_shard(shard, tmp_path / "out.parquet", "prompt", 3, answer)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.num_rows == 0
    assert table.schema.field("llm").type == pa.string()


def test_one_batch_is_held_at_a_time_however_long_the_shard(tmp_path: Path) -> None:
    shard = write(tmp_path / "in.parquet", [str(number) for number in range(400)])
    given: list[weakref.ref[Answers]] = []
    held: list[int] = []

    def watched(prompts: list[str]) -> Answers:
        held.append(sum(reference() is not None for reference in given))
        answers = answer(prompts)
        given.append(weakref.ref(answers))
        return answers

    answer_shard(shard, tmp_path / "out.parquet", "prompt", 10, watched)
    assert len(held) == 41
    assert max(held) <= 1
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 40


def test_interrupted_shard_is_absent_and_leaves_the_old_one(tmp_path: Path) -> None:
    shard = write(tmp_path / "in.parquet", ["a", "b", "c"])
    (tmp_path / "out.parquet").write_text("old")

    def breaks(prompts: list[str]) -> Answers:
        if prompts == ["c"]:
            raise KeyboardInterrupt
        return answer(prompts)

    with pytest.raises(KeyboardInterrupt):
        answer_shard(shard, tmp_path / "out.parquet", "prompt", 2, breaks)
    assert (tmp_path / "out.parquet").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]


def test_null_prompt_is_named_by_its_row(tmp_path: Path) -> None:
    shard = write(tmp_path / "in.parquet", ["a", "b", "c", None])
    with pytest.raises(DataError, match="row 4 of column 'prompt' is null"):
        answer_shard(shard, tmp_path / "out.parquet", "prompt", 2, answer)


def test_prompts_that_are_no_text_are_refused(tmp_path: Path) -> None:
    shard = write(tmp_path / "in.parquet", ["a"], number=pa.array([1]))
    with pytest.raises(DataError, match="'number' holds int64, expected text"):
        answer_shard(shard, tmp_path / "out.parquet", "number", 2, answer)


def test_columns_are_checked_from_the_footer(tmp_path: Path) -> None:
    shard = write(tmp_path / "in.parquet", ["a", "b"], llm=pa.array(["x", "y"]))
    assert count_prompts(shard, "prompt", ["estimated_error"]) == 2
    with pytest.raises(DataError, match=r"no column 'text'; it has prompt, llm\. Name the column of the prompts"):
        count_prompts(shard, "text")
    with pytest.raises(DataError, match="column 'llm' already"):
        count_prompts(shard, "prompt", ["llm"])
    (tmp_path / "broken.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="no Parquet file"):
        count_prompts(tmp_path / "broken.parquet", "prompt")


def test_shards_are_found_by_pattern_or_folder_in_order(tmp_path: Path) -> None:
    shards = [write(tmp_path / folder / name, ["a"]) for folder, name in (("x", "1.parquet"), ("x", "2.parquet"))]
    assert find_shards(str(tmp_path / "x" / "*.parquet")) == shards
    assert find_shards(str(tmp_path / "x")) == shards
    with pytest.raises(DataError, match="no file matches"):
        find_shards(str(tmp_path / "y" / "*.parquet"))
    write(tmp_path / "z" / "1.parquet", ["a"])
    with pytest.raises(DataError, match=r"1\.parquet is in 2 folders"):
        find_shards(str(tmp_path / "**" / "*.parquet"))


def test_writing_over_the_shards_is_refused(tmp_path: Path) -> None:
    shard = write(tmp_path / "x" / "1.parquet", ["a"])
    refuse_same_place([shard], tmp_path)
    with pytest.raises(ConfigError, match="Choose another folder"):
        refuse_same_place([shard], tmp_path / "y" / ".." / "x")
