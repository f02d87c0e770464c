import csv
import json
import math
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import published_files as made
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unirouter_torch.data.public.embedllm import parameters_of
from unirouter_torch.data.public.pickles import FRAME_GLOBALS, load_pickle
from unirouter_torch.data.public.prepare import PUBLIC_TABLES
from unirouter_torch.data.sources import SourceTables
from unirouter_torch.errors import DataError


@pytest.fixture
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made.WRITERS[request.node.name.split("_")[1]](tmp_path)
    return tmp_path


def read(name: str, folder: Path) -> SourceTables:
    return PUBLIC_TABLES[name].read(folder)


def pairs(tables: SourceTables, column: str = "score") -> dict[tuple[str, str], float | None]:
    rows = tables.outcomes.to_pylist()
    return {(row["prompt_id"], row["model_id"]): row[column] for row in rows}


def texts(tables: SourceTables, column: str = "prompt") -> dict[str, str]:
    return {row["prompt_id"]: row[column] for row in tables.prompts.to_pylist()}


def test_embedllm_pairs_are_right_if_one_task_variant_is(files: Path) -> None:
    tables = read("embedllm", files)
    heron, wren, owl = "berkeley__Heron-LM-7B-alpha", "microsoft__phi-2", "nobody__owl"
    expected = {("1", heron): 1, ("1", wren): 1, ("1", owl): 0, ("2", heron): 0, ("2", wren): 1, ("3", owl): 1}
    assert pairs(tables) == expected
    assert texts(tables) == {"1": 'Sing, "otter",\nof rivers.', "2": "2 + 2?", "3": "3 + 3?"}
    assert texts(tables, "source") == {"1": "gpqa_extended", "2": "piqa", "3": "piqa"}
    assert tables.models.to_pydict() == {"model_id": [heron, wren, owl], "params_b": [7.0, 2.7, None]}


def test_embedllm_result_does_not_depend_on_the_order_of_rows(files: Path) -> None:
    before = read("embedllm", files)
    with (files / "train.csv").open(newline="", encoding="utf-8") as handle:
        header, *rows = csv.reader(handle)
    made.write_csv(files / "train.csv", tuple(header), [tuple(row) for row in reversed(rows)])
    after = read("embedllm", files)
    assert pairs(after) == pairs(before)
    assert texts(after, "source") == texts(before, "source")


def test_embedllm_prompt_with_two_texts_is_refused(files: Path) -> None:
    made.write_csv(files / "test.csv", made.EMBEDLLM_COLUMNS, [(2, 2, "nobody__owl", 7, "piqa", 1, "4 + 4?")])
    with pytest.raises(DataError, match=r"column 'prompt_id', row \d+: got '2'"):
        read("embedllm", files)


@pytest.mark.parametrize(
    ("llm", "size"),
    [
        ("Qwen__Qwen1.5-0.5B-Chat", 0.5),
        ("OpenAssistant__oasst-sft-4-pythia-12b-epoch-3.5", 12.0),
        ("h2oai__h2ogpt-gm-oasst1-en-2048-open-llama-13b", 13.0),
        ("OpenBuddy__openbuddy-codellama2-34b-v11.1-bf16", 34.0),
        ("SciPhi__SciPhi-Self-RAG-Mistral-7B-32k", 7.0),
        ("deepseek-ai__deepseek-coder-6.7b-instruct", 6.7),
        ("01-ai__Yi-6B-200K", 6.0),
        ("CausalLM__34b-beta", 34.0),
        ("bigscience__bloom-7b1", 7.1),
        ("mistralai__Mixtral-8x7B-Instruct-v0.1", 46.7),
        ("nobody__owl-v1.5-16k-bf16", None),
    ],
)
def test_embedllm_sizes_are_read_off_names(llm: str, size: float | None) -> None:
    assert parameters_of(llm) == size


def test_routerbench_gives_scores_costs_and_lengths(files: Path) -> None:
    tables = read("routerbench", files)
    sums, talk = "sums.dev.1", "talk.dev.2"
    assert pairs(tables) == {(sums, "owl/owl-7b"): 1.0, (talk, "owl/owl-7b"): 0.25, (sums, "wren"): 0.0}
    assert pairs(tables, "cost_usd")[sums, "wren"] == 0.125
    assert pairs(tables, "output_chars")[talk, "owl/owl-7b"] == len("hm\nhm")
    assert texts(tables) == {sums: "Add.\n2 + 2?", talk: 'Say it\'s "hm".'}
    assert texts(tables, "source") == {sums: "sums", talk: "talk"}


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_routerbench_pickle_of_any_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "routerbench_0shot.pkl"
    file.write_bytes(pickle.dumps(made.routerbench_frame(), protocol=protocol))
    assert read("routerbench", tmp_path).prompts.num_rows == 2


def test_routerbench_pickle_with_the_names_of_older_libraries_is_read(tmp_path: Path) -> None:
    content = pickle.dumps(made.routerbench_frame(), protocol=2)
    older = {
        b"cnumpy._core.multiarray\n": b"cnumpy.core.multiarray\n",
        b"cpandas\nDataFrame\n": b"cpandas.core.frame\nDataFrame\n",
        b"cpandas\nIndex\n": b"cpandas.core.indexes.base\nIndex\n",
        b"cpandas\nRangeIndex\n": b"cpandas.core.indexes.range\nRangeIndex\n",
    }
    for new, old in older.items():
        assert new in content
        content = content.replace(new, old)
    (tmp_path / "routerbench_0shot.pkl").write_bytes(content)
    assert read("routerbench", tmp_path).prompts.num_rows == 2


class Harmful:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call = (call, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_that_names_a_function_is_refused_before_it_is_called(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    content = pickle.dumps({"frame": Harmful(shutil.os.remove, str(victim))}, protocol=protocol)
    for allowed in (frozenset(), FRAME_GLOBALS):
        with pytest.raises(DataError, match=r"here: this pickle cannot be read safely \(it names \w+\.(remove|unlink)"):
            load_pickle(content, allowed=allowed, place="here")
    assert victim.exists()
    pickle.loads(content)
    assert not victim.exists()


def test_names_that_a_table_may_use_hold_no_way_to_run_code() -> None:
    modules = {module.partition(".")[0] for module, _ in FRAME_GLOBALS}
    assert modules == {"builtins", "__builtin__", "_codecs", "numpy", "pandas"}
    assert not {name for _, name in FRAME_GLOBALS} & {"eval", "exec", "getattr", "read_pickle", "load", "__import__"}


def test_sprout_costs_are_counted_tokens_times_prices(files: Path) -> None:
    tables = read("sprout", files)
    train, validation, test = (f"{split}-00000-of-00001/0" for split in ("train", "validation", "test"))
    mini = "openai-o3-mini"
    expected = {(train, mini): 1.0, (validation, mini): 0.75}
    assert pairs(tables) == {**expected, (train, "owl"): 0.5, (validation, "owl"): 0.0, (test, "owl"): 1.0}
    assert pairs(tables, "cost_usd")[train, mini] == pytest.approx((1000 * 1.1 + 2000 * 4.4) / 1e6)
    assert pairs(tables, "cost_usd")[train, "owl"] is None
    assert pairs(tables, "output_tokens")[test, "owl"] == 20
    assert texts(tables) == {train: "0 + 2?", validation: "1 + 2?", test: "2 + 2?"}
    assert tables.models.to_pydict() == {"model_id": [mini, "owl"], "price_in": [1.1, None], "price_out": [4.4, None]}


def test_sprout_llm_without_token_counts_is_refused(files: Path) -> None:
    file = files / "data" / "test-00000-of-00001.parquet"
    table = pq.read_table(file)
    owl = pa.array([{"score": 1.0, "num_output_tokens": 3}])
    pq.write_table(table.set_column(table.column_names.index("owl"), "owl", owl), file)
    with pytest.raises(DataError, match=r"test-.*, column 'owl': got .* num_output_tokens, .*'num_input_tokens' is mi"):
        read("sprout", files)


def test_mixinstruct_scores_are_exponentiated_bartscores(files: Path) -> None:
    tables = read("mixinstruct", files)
    vicuna, flan = "vicuna-13b-1.1", "flan-t5-xxl"
    half = math.exp(-0.5)
    expected = {("train/1", vicuna): half, ("train/1", flan): 1.0, ("train/2", vicuna): half, ("val/1", flan): 1.0}
    assert pairs(tables) == pytest.approx({**expected, ("test/1", "owl"): math.exp(-3)})
    assert pairs(tables, "output_chars")["train/1", vicuna] == 5
    assert texts(tables)["train/1"] == "Add.\n1 + 2?" and texts(tables)["train/2"] == "2 + 2?"
    assert texts(tables, "source")["test/1"] == "itwgpt4"
    assert tables.models.to_pydict() == {"model_id": [flan, "owl", vicuna], "params_b": [11.0, None, 13.0]}


@pytest.mark.parametrize("value", [0.25, math.nan, "good"])
def test_mixinstruct_score_that_is_no_log_probability_is_refused(files: Path, value: Any) -> None:
    record = made.mixinstruct_record(1, "dolly_15k", ("owl", "hm", value))
    (files / "val_data_prepared.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(DataError, match=r"val_data_prepared.jsonl, line 1: bartscore of owl: got .*at most 0"):
        read("mixinstruct", files)


def test_headlines_answers_match_by_word_and_repeated_ones_are_averaged(files: Path) -> None:
    tables = read("headlines", files)
    gpt4, mid = "openaichat/gpt-4", "ai21/j2-mid"
    assert pairs(tables) == {("train/0", gpt4): 0.5, ("test/1", gpt4): 1.0, ("train/0", mid): 0.0}
    assert pairs(tables, "cost_usd") == {("train/0", gpt4): 0.5, ("test/1", gpt4): 0.5, ("train/0", mid): None}
    assert texts(tables) == {"train/0": "gold climbs", "test/1": "gold, silver slip"}


def test_headlines_cache_with_an_object_in_it_is_refused(files: Path) -> None:
    made.headlines_cache(files, {made.headlines_key("2000", "gold climbs"): {"completion": Path("x")}})
    with pytest.raises(DataError, match=r"HEADLINES.sqlite, entry 1: this pickle cannot be read safely .*pathlib"):
        read("headlines", files)


def test_llmrouterbench_keeps_the_pool_with_costs_and_its_latest_runs(files: Path) -> None:
    tables = read("llmrouterbench", files)
    first, second, tau = "aime/test/1", "aime/test/2", "tau2/test/1"
    assert pairs(tables) == {(first, "gpt-5"): 1.0, (second, "gpt-5"): 0.0, (tau, "glm-4.6"): 0.5}
    assert pairs(tables, "cost_usd")[second, "gpt-5"] == 0.25
    assert pairs(tables, "output_tokens")[tau, "glm-4.6"] == 7
    assert texts(tables) == {first: "1 + 2?", second: "2 + 2?", tau: "1 + 2?"}
    assert texts(tables, "source")[tau] == "tau2"


def test_llmrouterbench_prompt_with_two_texts_is_left_out_with_a_warning(files: Path) -> None:
    other = {**made.llmrouterbench_record(1, 1.0), "origin_query": "Another one?"}
    records = {"gpt-5": [made.llmrouterbench_record(1, 1.0), made.llmrouterbench_record(2, 1.0)], "glm-4.6": [other]}
    made.llmrouterbench_archive(files, {f"aime/test/{llm}/1.json": rows for llm, rows in records.items()})
    with pytest.warns(UserWarning, match=r"1 of 2 prompts have not the same text for all LLMs and are left out"):
        tables = read("llmrouterbench", files)
    assert list(texts(tables)) == ["aime/test/2"]
    assert list(pairs(tables)) == [("aime/test/2", "gpt-5")]


def drop_csv_column(folder: Path) -> None:
    made.write_csv(folder / "val.csv", ("prompt_id", "model_name", "label", "prompt"), [(1, "wren", 1, "?")])


def drop_frame_column(folder: Path) -> None:
    frame = made.routerbench_frame().drop(columns="wren|model_response")
    (folder / "routerbench_0shot.pkl").write_bytes(pickle.dumps(frame))


def drop_struct(folder: Path) -> None:
    file = folder / "data" / "validation-00000-of-00001.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["dataset"]), file)


def drop_metric(folder: Path) -> None:
    file = folder / "test_data_prepared.jsonl"
    file.write_text(file.read_text().replace("bartscore", "bleurt"))


def drop_completion(folder: Path) -> None:
    made.headlines_cache(folder, {made.headlines_key("2000", "gold climbs"): {"cost": 1.0}})


def drop_cost(folder: Path) -> None:
    record = made.llmrouterbench_record(1, 1.0)
    del record["cost"]
    made.llmrouterbench_archive(folder, {"aime/test/gpt-5/1.json": [record]})


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("embedllm", drop_csv_column, r"val\.csv: got the columns prompt_id, .* expected .*'category' is missing"),
        ("routerbench", drop_frame_column, r"0shot\.pkl: got .*'wren\|model_response' is missing"),
        ("sprout", drop_struct, r"validation-.*: got .* expected .*'dataset' is missing"),
        ("mixinstruct", drop_metric, r"test_data.*, line 1, scores of owl: got .*'bartscore' is missing"),
        ("headlines", drop_completion, r"HEADLINES.sqlite, entry 1: got the columns cost, .*'completion' is missing"),
        ("llmrouterbench", drop_cost, r"tar\.gz, bench-release/aime/test/gpt-5/1\.json, records: got .*'cost' is mi"),
    ],
)
def test_file_without_a_column_is_refused_with_what_it_has(
    tmp_path: Path, name: str, damage: Any, message: str
) -> None:
    made.WRITERS[name](tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=message + r".*docs/evidence/public_tables\.md"):
        read(name, tmp_path)


@pytest.mark.parametrize("name", made.WRITERS)
def test_file_that_is_cut_short_or_of_another_form_is_refused_by_name(tmp_path: Path, name: str) -> None:
    made.WRITERS[name](tmp_path)
    file = next(tmp_path.glob(PUBLIC_TABLES[name].files[0]))
    content = file.read_bytes()
    for damaged in (content[: len(content) // 2] if name not in ("embedllm", "mixinstruct") else b"\x00", b"hm"):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=re.escape(file.name)):
            read(name, tmp_path)
