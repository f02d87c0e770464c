"""Files of records, as programs and people write them."""

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.data.columns import read_columns
from unirouter_torch.data.files import read_items, read_records
from unirouter_torch.data.json_stream import JSONStream
from unirouter_torch.data.load import load_table
from unirouter_torch.errors import DataError

ROWS = [
    {"prompt": "Name a lake.", "llm": "heron", "score": 1, "cost": 0.5},
    {"prompt": "Name a lake.", "llm": "wren", "score": 0, "cost": 0.25},
    {"prompt": 'Say "hm",\nthen go.', "llm": "wren", "score": 1, "cost": 0.25},
]
CSV = 'prompt,llm,score,cost\nName a lake.,heron,1,0.5\nName a lake.,wren,0,0.25\n"Say ""hm"",\nthen go.",wren,1,0.25\n'
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def zstd(content: str) -> bytes:
    packed: bytes = pa.compress(content.encode(), codec="zstd", asbytes=True)
    return packed


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", CSV.encode()),
        ("log.txt", CSV.replace("\n", "\r\n").replace('hm"",\r\n', 'hm"",\n').encode()),
        ("log.csv.gz", gzip.compress(CSV.encode())),
        ("log.csv.zst", zstd(CSV)),
        ("log.jsonl.gz", gzip.compress(LINES.encode())),
        ("log.zst", zstd(LINES)),
        ("log.json", json.dumps(ROWS).encode()),
        ("pretty.json", json.dumps(ROWS, indent=2).encode()),
        ("log.json.gz", gzip.compress(json.dumps(ROWS).encode())),
        ("log.parquet", parquet(ROWS)),
        ("log.data", parquet(ROWS)),
        ("mac.csv", CSV.replace("\n", "\r").replace('hm"",\r', 'hm"",\n').encode()),
        ("names.csv", CSV.replace("prompt,llm,score,cost", "Prompt,LLM , Score,COST").encode()),
        ("names.jsonl", LINES.replace('"score"', '"Score"').replace('"llm"', '" llm"').encode()),
        ("table.json", json.dumps({"schema": {"fields": []}, "data": ROWS}).encode()),
        (
            "index.csv",
            CSV.replace("prompt", ",prompt").replace("\nName", "\n0,Name").replace('"Say', '0,"Say').encode(),
        ),
    ],
)
def test_a_log_is_known_by_its_content(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "plain.jsonl").write_text(LINES)
    (tmp_path / name).write_bytes(content)
    assert load_table(str(tmp_path / name)).content_hash == load_table(str(tmp_path / "plain.jsonl")).content_hash


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(CSV.encode() * 50)[:-30])
    with pytest.raises(DataError, match="expected a whole file"):
        load_table(str(tmp_path / "log.csv.gz"))


STRAY = "prompt,llm,score\nName a lake.,heron,1\n"


def texts_of(path: Path) -> list[str]:
    return load_table(str(path), cost_rule="equal").prompt_texts


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('"Where is Ulm?,heron,1\nHm?,wren,1\n"Why is it so?,wren,0\n', "row 2: a quote within a quoted text"),
        ('"Where is Ulm?,heron,1\nHm?,wren,1\n', "row 2: a quote that opens there is never closed"),
        ('"Where is Ulm?,heron,1\nHm?,wren,1\nWhy so""",wren,0\n', "row 2: a quote opens there that closes rows later"),
        ('Hm?,wren,1\nWhere is Ulm?,"heron,1\nHm?,wren,1\nWhy?,wren",0\n', "row 3: "),
        ('"Say \\"hm\\", then go.",wren,1\n', "row 2: a quote within a quoted text"),
        ('"Say \\"hm\\"",wren,1\n"Go",wren,1\n', "row 2: "),
        ("Where, then?,wren,1\n", "row 2: got 4 cells, expected 3 as in the header"),
    ],
)
def test_quotes_that_another_program_would_read_otherwise_are_refused(rows: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(STRAY + rows)
    with pytest.raises(DataError, match=rf"log\.csv, {message}"):
        load_table(str(tmp_path / "log.csv"))


def test_quotes_within_a_text_without_quotes_are_kept(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(STRAY + 'A 5" disk or \\"hm\\"?,wren,1\n')
    assert 'A 5" disk or \\"hm\\"?' in texts_of(tmp_path / "log.csv")


def test_a_quoted_text_of_several_lines_with_commas_is_no_mistake(tmp_path: Path) -> None:
    text = "Sum these, please:\n1,2,3\na,b\n\nThank you, bye"
    (tmp_path / "log.csv").write_text(STRAY + f'"{text}",wren,1\n')
    assert text in texts_of(tmp_path / "log.csv")


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0")), st.text("ab,\"'\n\\")),
        max_size=4,
    )
)
def test_whatever_the_csv_module_writes_is_read_or_refused_but_never_changed(rows: list[tuple[str, str]]) -> None:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerows([("prompt", "answer"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        path.write_text(sink.getvalue(), encoding="utf-8", newline="")
        try:
            found, _, num_rows = read_columns(path, ["prompt", "answer"])
        except DataError:
            return
    assert num_rows == len(rows)
    assert list(zip(found["prompt"], found["answer"], strict=True)) == rows


RIGHT = [
    "True",
    "true",
    "TRUE",
    "yes",
    "right",
    "correct",
    "passed",
    "ok",
    "succeeded",
    "on",
    "np.True_",
    "vrai",
    "是",
    "✔️",
]


@pytest.mark.parametrize("word", [*RIGHT, "1", "1.0", " 1 ", "１", "100%", "1e0", "+1"])
def test_right_is_one_in_any_writing(word: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(f"prompt,llm,score\na,wren,{word}\nb,wren,0\nc,wren,False\n", encoding="utf-8")
    table = load_table(str(tmp_path / "log.csv"), cost_rule="equal")
    assert table.error.squeeze(1).sort().values.tolist() == [0.0, 1.0, 1.0]


def test_values_of_json_may_be_booleans_texts_and_whole_numbers(tmp_path: Path) -> None:
    rows = [
        {"prompt_id": 1, "prompt": "a", "llm": "wren", "score": True, "cost": "0.5"},
        {"prompt_id": "2", "prompt": "b", "llm": "wren", "score": "0.25", "cost": None},
        {"prompt_id": 3.0, "prompt": "c", "llm": "wren", "score": False, "cost": 0.5},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = load_table(str(tmp_path / "log.jsonl"))
    assert table.prompt_ids == ["1", "2", "3"]
    assert table.error.squeeze(1).tolist() == [0.0, 0.75, 1.0]
    assert table.cost.value.tolist() == [0.5]


@pytest.mark.parametrize(
    ("written", "dollars"),
    [
        ("$0.25", 0.25),
        ("US$ 1,234.5", 1234.5),
        ("0.5 USD", 0.5),
        ("1 234", 1234),
        ("1\u202f234", 1234),
        ("12'345.5", 12345.5),
    ],
)
def test_signs_of_dollars_and_of_thousands_are_read(written: str, dollars: float, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(f'prompt,llm,score,cost\na,wren,1,"{written}"\n', encoding="utf-8")
    assert load_table(str(tmp_path / "log.csv")).cost.value.tolist() == [dollars]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("€0.25", "got '€0.25', expected a number; costs are in US dollars"),
        ("0,25", "got '0,25', expected a number with a decimal point"),
        ("1.234,5", r"got '1\.234,5', expected a number"),
        ("1,00,000", "expected a number"),
        ("0.5$%", "expected a number"),
        ("12e", "expected a number"),
        ("many", "got 'many', expected a number. Correct it"),
    ],
)
def test_other_currencies_and_decimal_commas_are_no_numbers(written: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(f'prompt,llm,score,cost\na,wren,1,"{written}"\n', encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_table(str(tmp_path / "log.csv"))


def test_a_column_for_each_llm_is_a_row_for_each_outcome(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("prompt_id,Prompt,source,heron,wren\n1,a,x,1,0\n2,b,x,,0.25\n3,c,y,True,0\n")
    of_llms = pytest.warns(UserWarning, match=r"each column but those of the prompts is an LLM .*: heron, wren\.")
    with of_llms, pytest.warns(UserWarning, match="1 of 6 rows have no score"):
        table = load_table(str(tmp_path / "log.csv"), cost_rule="equal")
    assert table.llm_names == ["heron", "wren"]
    assert table.observed.tolist() == [[True, True], [False, True], [True, True]]
    assert table.error[table.observed].tolist() == [0, 1, 0.75, 0, 1]


@pytest.mark.parametrize(
    ("header", "row", "column"),
    [
        ("prompt,model,rating", "a,wren,1", "model"),
        ("prompt,wren,heron", "a,1,7", "heron"),
        ("prompt,wren,cost", "a,1,1", "cost"),
    ],
)
def test_a_column_that_is_no_llm_is_named_with_what_to_do(header: str, row: str, column: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(DataError, match=rf"column '{column}', row 1: got .*table\.melt\("):
        load_table(str(tmp_path / "log.csv"))


@pytest.mark.parametrize("nothing", ["", "NA", "nan", "null", "<NA>", r"\N", "?", "n.a.", "—"])
def test_rows_that_are_not_graded_are_left_out_and_counted(nothing: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(f"prompt,llm,score,cost\na,wren,1,1\nb,wren,{nothing},1\nc,heron,0,1\n")
    with pytest.warns(UserWarning, match=r"log\.csv: 1 of 3 rows have no score and are left out"):
        table = load_table(str(tmp_path / "log.csv"))
    assert (table.num_prompts, table.llm_names) == (2, ["heron", "wren"])


def test_a_conversation_is_its_last_question_in_every_form(tmp_path: Path) -> None:
    chat = [
        {"role": "user", "content": "Hm?"},
        {"role": "assistant", "content": "?"},
        {"role": "user", "content": "Go."},
    ]
    rows = [{"prompt": chat, "llm": "wren", "score": 1, "cost": 1}]
    (tmp_path / "log.jsonl").write_text(json.dumps(rows[0]))
    (tmp_path / "log.parquet").write_bytes(parquet(rows))
    (tmp_path / "log.csv").write_text(
        f'prompt,llm,score,cost\n"{json.dumps(chat).replace(chr(34), chr(34) * 2)}",wren,1,1\n'
    )
    for name in ("log.jsonl", "log.parquet", "log.csv"):
        assert load_table(str(tmp_path / name)).prompt_texts == ["Go."]


@pytest.mark.parametrize(
    "prompt",
    [
        {"messages": [{"role": "User", "content": [{"type": "text", "text": "Go."}]}]},
        {"role": "user", "content": "Go."},
        str([{"role": "system", "content": "It's"}, {"role": "user", "content": "Go."}]),
    ],
)
def test_a_request_a_message_and_a_list_as_python_writes_it_are_conversations(prompt: Any, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps({"prompt": prompt, "llm": "wren", "score": 1, "cost": 1}))
    assert load_table(str(tmp_path / "log.jsonl")).prompt_texts == ["Go."]


def test_columns_that_are_not_used_never_refuse_a_file(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "llm": "wren", "score": 1, "cost": 1, "note": "cut \ud83d", "n": 1, "\ud83d": 1},
        {"prompt": "b", "llm": "wren", "score": 0, "cost": 1, "note": {"x": [float("nan")]}, "n": "many"},
        {"prompt": "c", "llm": "wren", "score": 0, "cost": 1, "answer": {"x": 1}, "input_tokens": "few"},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load_table(str(tmp_path / "log.jsonl")).num_prompts == 3
    (tmp_path / "log.csv").write_text("prompt,llm,score,cost,note,note\na,wren,1,1,x,y\n")
    assert load_table(str(tmp_path / "log.csv")).num_prompts == 1


def test_half_an_emoji_in_a_prompt_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"prompt": "Cut \\ud83d", "llm": "wren", "score": 1, "cost": 1}\n')
    assert load_table(str(tmp_path / "log.jsonl")).prompt_texts == ["Cut �"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_items_of_a_document_are_those_that_the_json_module_reads(value: Any) -> None:
    document = {"first": value, "inner": {"list": [value, 1, value]}, "last": 2}
    found = list(JSONStream(io.BytesIO(json.dumps(document).encode())).items(["inner", "list"]))
    assert json.dumps(found) == json.dumps([value, 1, value])


@pytest.mark.parametrize("content", ["", "[1", "[1,", "[1 2]", '{"a": 1}', '["\\x"]', "nothing"])
def test_a_document_that_is_cut_off_or_something_else_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match="expected JSON"):
        list(read_items(tmp_path / "a.json"))


def test_a_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"a": \n')
    with pytest.raises(DataError, match="line 3"):
        list(read_records(tmp_path / "a.jsonl"))
