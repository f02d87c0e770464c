import csv
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import published_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fake_hub import fake_hub

from unirouter_torch.data.cost import CostRule
from unirouter_torch.data.load import load_table
from unirouter_torch.data.simulate import simulate_tables
from unirouter_torch.data.sources.parquet_folder import write_parquet_folder
from unirouter_torch.data.splits import split_table
from unirouter_torch.errors import DataError

# fields: prompt_id, prompt, source, llm, score, cost, price_in
ROWS: list[tuple[Any, ...]] = [
    ("q2", 'Say "hm",\nthen "ça".', "talk", "wren", 0.25, 0.125, 1.5),
    ("q1", "2 + 2?", "sums", "heron", 1, 0.5, 4.0),
    ("q2", 'Say "hm",\nthen "ça".', "talk", "heron", 0.0, 0.25, 4.0),
]
FIELDS = ("prompt_id", "prompt", "source", "llm", "score", "cost", "price_in")
LOG = [dict(zip(FIELDS, row, strict=True)) for row in ROWS]
PARTS: dict[str, dict[str, Any]] = {
    "prompts": {"prompt_id": ["q1", "q2"], "prompt": ["2 + 2?", ROWS[0][1]], "source": ["sums", "talk"]},
    "models": {"model_id": ["heron", "wren"], "price_in": [4.0, 1.5]},
    "outcomes": {
        "prompt_id": ["q1", "q2", "q2"],
        "model_id": ["heron", "wren", "heron"],
        "score": [1.0, 0.25, 0.0],
        "cost_usd": [0.5, 0.125, 0.25],
    },
}


def write_folder(folder: Path, parts: dict[str, Any] = PARTS) -> str:
    write_parquet_folder(folder, *(pa.table(parts[name]) for name in ("prompts", "models", "outcomes")))
    return str(folder)


def write_csv(file: Path, rows: list[dict[str, Any]]) -> str:
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(file)


def write_jsonl(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def write_hub_folder(folder: Path) -> str:
    configs = "".join(f"- config_name: {part}\n  data_files: {part}.parquet\n" for part in PARTS)
    write_folder(folder)
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return f"hub:{folder}"


@pytest.fixture(params=["csv", "jsonl"])
def write_log(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    write = {"csv": write_csv, "jsonl": write_jsonl}[request.param]
    return lambda rows: write(tmp_path / f"log.{request.param}", rows)


@pytest.fixture(autouse=True)
def cache_of_datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_all_forms_of_the_same_data_have_the_same_content(tmp_path: Path) -> None:
    paths = [
        write_folder(tmp_path / "folder"),
        write_csv(tmp_path / "log.csv", LOG),
        write_jsonl(tmp_path / "log.jsonl", LOG),
        write_hub_folder(tmp_path / "hub"),
    ]
    tables = [load_table(path) for path in paths]
    assert len({table.content_hash for table in tables}) == 1
    assert [table.name for table in tables] == ["folder", "log", "log", str(tmp_path / "hub")]
    for table in tables:
        assert table.prompt_texts == PARTS["prompts"]["prompt"]
        assert table.llms["price_in"].to_pylist() == [4.0, 1.5]
        torch.testing.assert_close(table.error, torch.tensor([[0.0, 0.0], [1.0, 0.75]]))
        assert table.observed.tolist() == [[True, False], [True, True]]
        assert (table.cost.rule, table.cost.value.tolist()) == ("billed", [0.375, 0.125])


@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_columns_may_be_any_text_and_null_throughout(tmp_path: Path, text: pa.DataType) -> None:
    expected = load_table(write_folder(tmp_path / "plain")).content_hash
    for part, columns in PARTS.items():
        table = pa.table(columns)
        schema = pa.schema([(f.name, text if f.type == pa.string() else f.type) for f in table.schema])
        table = table.cast(schema)
        if part == "models":
            table = table.append_column("params_b", pa.nulls(2)).append_column("price_out", pa.nulls(2))
        pq.write_table(table, tmp_path / f"{part}.parquet", row_group_size=1)
    assert load_table(str(tmp_path)).content_hash == expected


def test_settings_reach_the_table(tmp_path: Path) -> None:
    models = {**PARTS["models"], "params_b": [70.0, 7.0], "base": ["x", "x"]}
    path = write_folder(tmp_path, {**PARTS, "models": models})
    table = load_table(path, cost_rule="parameters", group_column="base")
    assert (table.cost.value.tolist(), table.group.tolist()) == ([70.0, 7.0], [0, 0])
    assert load_table(path, same_llm=[["wren", "heron"]]).group.tolist() == [0, 0]


def test_equal_texts_of_a_log_without_ids_are_one_prompt(write_log: Any) -> None:
    keep = ("prompt", "llm", "score", "cost")
    table = load_table(write_log([{name: row[name] for name in keep} for row in LOG]))
    assert table.num_prompts == 2
    row = table.prompt_texts.index(ROWS[0][1])
    assert table.error[row].tolist() == [1.0, 0.75]
    assert table.observed.sum().item() == 3
    assert table.sources == ["unknown"] * 2


def test_ids_of_a_log_part_equal_texts(write_log: Any) -> None:
    rows = [{"prompt_id": name, "prompt": "Again?", "llm": "wren", "score": 1, "cost": 1} for name in ("a", "b")]
    assert load_table(write_log(rows)).prompt_texts == ["Again?", "Again?"]


def test_all_optional_columns_of_a_log_are_read_and_others_ignored(write_log: Any) -> None:
    row = {"prompt": "12345678", "llm": "wren", "score": 1, "cost": 2, "output_tokens": 10, "params_b": 7}
    row |= {"price_in": 3, "price_out": 5, "source": "sums", "answer": "so be it"}
    path = write_log([row])
    rules: tuple[CostRule, ...] = ("billed", "estimated", "list_price", "parameters")
    costs = [load_table(path, cost_rule=rule).cost.value.item() for rule in rules]
    assert costs == pytest.approx([2, (2 * 3 + 10 * 5) / 1e6, 4, 7], rel=1e-12)
    table = load_table(path)
    assert table.sources == ["sums"]
    assert "answer" not in table.llms.column_names


def test_efforts_of_one_llm_in_a_log_stay_on_one_side_of_every_split(write_log: Any) -> None:
    rows = [
        {"prompt": f"{number} + 1?", "llm": f"{llm}-{effort}", "score": (number + place) % 2, "cost": 1 + place}
        | ({"llm_group": llm} if number == 0 else {})
        for number in range(20)
        for place, (llm, effort) in enumerate(itertools.product("abcdef", ("low", "high")))
    ]
    table = load_table(write_log(rows))
    for seed in range(20):
        split = split_table(table, seed=seed, unseen_fraction=0.4)
        sides = [{table.llm_names[llm][0] for llm in side.tolist()} for side in (split.seen_llms, split.unseen_llms)]
        assert not sides[0] & sides[1]
        assert len(split.unseen_llms) == 4


def test_a_fact_given_in_one_row_of_a_log_holds_for_its_llm(write_log: Any) -> None:
    rows = [{**row, "price_out": 8.0 if number == 2 else None} for number, row in enumerate(LOG)]
    assert load_table(write_log(rows)).llms["price_out"].to_pylist() == [8.0, None]


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [("price_in", 5.0, "5.0"), ("prompt", "3 + 3?", "'3 + 3?'"), ("source", "tales", "'tales'")],
)
def test_rows_of_a_log_that_contradict_one_another_are_refused(
    write_log: Any, column: str, value: Any, shown: str
) -> None:
    path = write_log([*LOG[:2], {**LOG[2], column: value}])
    message = f"{path}: column '{column}', row 3: got {shown}, expected what an earlier row says"
    with pytest.raises(DataError, match=f"^{re.escape(message)}.*Make the rows agree"):
        load_table(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 1.5}, "column 'score', row 3: got 1.5, expected a number in [0, 1]"),
        ({"cost": -1}, "column 'cost', row 3: got -1.0"),
        ({"llm": " "}, "column 'llm', row 3: got None"),
        ({"score": "good"}, "column 'score', row 3: got 'good'"),
    ],
)
def test_bad_value_of_a_log_is_refused_with_its_row(write_log: Any, change: dict[str, Any], message: str) -> None:
    path = write_log([*LOG[:2], {**LOG[2], **change}])
    with pytest.raises(DataError, match=f"^{re.escape(f'{path}: {message}')}"):
        load_table(path)


def test_of_equal_texts_with_the_same_llm_the_mean_counts(write_log: Any) -> None:
    rows = [{"prompt": "Hm?", "llm": "wren", "score": score, "cost": 1} for score in (1, 0, 0, 0)]
    with pytest.warns(UserWarning, match="3 of 4 outcomes repeat a prompt and an LLM"):
        table = load_table(write_log(rows))
    assert table.error.tolist() == [[0.75]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("short.csv", "prompt,llm,score\nHm?,wren,1\nHa?,wren\n", "got 2 cells, expected 3 as in the header"),
        ("text.csv", 'prompt,llm,score\n"H\nm",wren,1\nHa?,wren,good\n', "column 'score', row 2: got 'good'"),
        (
            "names.csv",
            "Prompt;llm;score\nHm?;wren;1\n",
            "the header 'Prompt;llm;score' has no comma",
        ),
        ("twice.csv", "prompt,llm,score,score\nHm?,wren,1,0\n", "column 'score': got several"),
        ("header.csv", "prompt,llm,score\n", "got no rows"),
        ("empty.csv", "", "got no rows"),
        ("empty.jsonl", "", "got no rows"),
        ("cut.jsonl", '{"prompt": "a", "llm": "b", "score": 1}\n{"prompt": "a", "ll', "expected JSON in UTF-8"),
        (
            "text.jsonl",
            '{"prompt": "a", "llm": "b", "score": 1}\n{"score": "good"}\n',
            "column 'score', row 2: got 'good'",
        ),
        ("none.jsonl", '{"prompt": "a", "llm": "b"}\n', "column 'score' is missing or empty; got .* prompt, llm"),
    ],
)
def test_malformed_log_is_refused_with_file_and_row(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=f"{re.escape(name)}.*{message}"):
        load_table(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", "prompt;llm;score\n2 + 2?;wren;1\n", "'prompt;llm;score' has no comma"),
        ("log.csv", "prompt\tllm\tscore\n2 + 2?\twren\t1\n", "has no comma"),
        ("log.xlsx", "PK\x03\x04", "got a ZIP archive"),
        ("log.json", '{"results": {}}', "column 'prompt' is missing or empty; got the columns results"),
    ],
)
def test_what_is_often_taken_for_a_log_is_told(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load_table(str(tmp_path / name))


def test_logs_in_a_folder_are_one_log(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "llm": "wren", "score": 1, "cost": 1, "price_in": 2},
        {"prompt": "b", "llm": "heron", "score": 0, "cost": 1},
        {"prompt": "a", "llm": "heron", "score": 0.5, "cost": 3},
        {"prompt": "c", "llm": "wren", "score": 0, "cost": 1},
    ]
    (tmp_path / "whole.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "months"
    (folder / "old").mkdir(parents=True)
    (folder / ".hidden").write_text("no log")
    (folder / "old" / "may.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    (folder / "june.csv").write_text("prompt,llm,score,cost\na,heron,0.5,3\nc,wren,0,1\n")
    assert load_table(str(folder)).content_hash == load_table(str(tmp_path / "whole.jsonl")).content_hash


def test_logs_in_a_folder_that_contradict_one_another_are_refused(tmp_path: Path) -> None:
    header = "prompt_id,prompt,llm,score,price_in\n"
    (tmp_path / "june.csv").write_text(f"{header}1,a,wren,1,2\n")
    (tmp_path / "may.csv").write_text(f"{header}2,b,wren,1,3\n")
    with pytest.raises(
        DataError, match=r"may\.csv: column 'price_in': got 3.0 for 'wren', expected what an earlier file"
    ):
        load_table(str(tmp_path))
    (tmp_path / "may.csv").write_text("# notes\n")
    with pytest.raises(DataError, match=r"may\.csv: "):
        load_table(str(tmp_path))


def test_case_of_the_ending_does_not_matter(tmp_path: Path) -> None:
    assert load_table(write_csv(tmp_path / "LOG.CSV", LOG)).num_prompts == 2
    assert load_table(write_jsonl(tmp_path / "log.JSONL", LOG)).num_prompts == 2


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_log_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"prompt,llm,score\nHm?,wren,1\n\xe7a?,wren,1\n")
    with pytest.raises(DataError, match=rf"{name}, line 3: expected UTF-8 .* Save it in UTF-8"):
        load_table(str(tmp_path / name))


def test_byte_order_mark_of_a_log_is_no_part_of_a_name(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("\ufeffprompt,llm,score,cost\nHm?,wren,1,1\n", encoding="utf-8")
    assert load_table(str(file)).prompt_texts == ["Hm?"]


@pytest.mark.parametrize("part", list(PARTS))
def test_truncated_or_missing_parquet_file_is_refused_by_name(tmp_path: Path, part: str) -> None:
    path = write_folder(tmp_path)
    file = tmp_path / f"{part}.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{part}\.parquet: expected a whole Parquet file .* copy it again"):
        load_table(path)
    file.unlink()
    with pytest.raises(DataError, match=rf"{part}\.parquet: no such file; .* correct the path"):
        load_table(path)


@pytest.mark.parametrize("path", ["nowhere", "log.csv", "simulated:0x5", "simulated:24", "simulated:24x10x3"])
def test_path_of_no_known_form_is_refused_with_the_forms(path: str) -> None:
    with pytest.raises(DataError, match=rf"^data: got '{path}'.*\.jsonl.*hub:.*simulated:NUM_PROMPTSxNUM_LLMS"):
        load_table(path)


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("tables/routerbench", r"unirouter data prepare routerbench --output tables/routerbench"),
        ("../shared/data/zeroeval", r"research recipes.*not published.*--data\.path"),
    ],
)
def test_table_of_a_recipe_that_is_absent_says_where_it_comes_from(
    path: str, advice: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"^data: got '{re.escape(path)}', which is not here.*{advice}"):
        load_table(path)


def test_hub_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    path = write_hub_folder(tmp_path / "hub")
    readme = tmp_path / "hub" / "README.md"
    readme.write_text(readme.read_text().replace("config_name: models", "config_name: llms"))
    with pytest.raises(
        DataError, match=r"hub:.*, config 'models': expected a dataset with the configs prompts, models"
    ):
        load_table(path)


def test_hub_dataset_out_of_reach_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^hub:nobody/nothing@v1, config 'prompts': .* Check the name"):
        load_table("hub:nobody/nothing@v1")


def test_tables_come_from_the_hub_by_their_names(tmp_path: Path) -> None:
    """By the real clients, in a process that may reach the hub on loopback."""
    program = """
import sys
from unirouter_torch import load_table
from unirouter_torch.cli import main

print(load_table("hub:someone/table@v1").content_hash)
assert main(["data", "prepare", "routerbench", "--output", sys.argv[1], "--revision", "v1", "--unsafe-pickle"]) == 0
"""
    write_hub_folder(tmp_path / "table")
    (tmp_path / "made").mkdir()
    published_files.routerbench(tmp_path / "made")
    with fake_hub() as (address, hub):
        hub.files |= {
            file.name: file.read_bytes() for name in ("table", "made") for file in (tmp_path / name).iterdir()
        }
        online = {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
        result = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "prepared")],
            env=os.environ | online | {"HF_ENDPOINT": address},
            capture_output=True,
            text=True,
        )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == load_table(str(tmp_path / "table")).content_hash
    assert load_table(str(tmp_path / "prepared")).cost.rule == "billed"


def test_simulated_table_has_the_asked_size_and_content(tmp_path: Path) -> None:
    table = load_table("simulated:240x10")
    assert (table.name, table.num_prompts, table.num_llms) == ("simulated:240x10", 240, 10)
    write_parquet_folder(tmp_path, *simulate_tables(num_prompts=240, num_llms=10))
    assert load_table(str(tmp_path)).content_hash == table.content_hash
