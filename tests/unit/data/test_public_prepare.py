import hashlib
import json
import re
from pathlib import Path

import published_files as made
import pytest
import torch
import yaml

from unirouter_torch.data.load import load_table
from unirouter_torch.data.public.prepare import PROVENANCE_NAME, PUBLIC_TABLES, prepare_table
from unirouter_torch.data.public.source import HubFiles
from unirouter_torch.errors import DataError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def test_every_table_has_files_to_try_it_with() -> None:
    assert list(made.WRITERS) == list(PUBLIC_TABLES)
    assert {name for name, table in PUBLIC_TABLES.items() if table.holds_pickle} == set(made.PICKLED)


@pytest.mark.parametrize("name", made.WRITERS)
def test_prepared_folder_is_a_table_that_knows_where_it_came_from(tmp_path: Path, files: Path, name: str) -> None:
    made.WRITERS[name](files)
    output = tmp_path / "tables" / name
    size = prepare_table(name, output, from_files=files, unsafe_pickle=name in made.PICKLED)
    table = load_table(str(output), cost_rule="equal")
    assert size == (table.num_prompts, table.num_llms, int(table.observed.sum()))
    tables = PUBLIC_TABLES[name].read(files)
    assert size == (tables.prompts.num_rows, table.num_llms, int(table.observed.sum()))

    provenance = json.loads((output / PROVENANCE_NAME).read_text())
    read = [file for pattern in PUBLIC_TABLES[name].files for file in files.glob(pattern)]
    assert {key: entry["sha256"] for key, entry in provenance["files"].items()} == {
        file.relative_to(files).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in read
    }
    assert not any(entry["is_published_checksum"] for entry in provenance["files"].values())
    assert provenance["licence"] == PUBLIC_TABLES[name].licence
    assert provenance["size"]["num_outcomes"] == size.num_outcomes


def test_routerbench_is_billed_by_its_pairs(tmp_path: Path, files: Path) -> None:
    made.routerbench(files)
    prepare_table("routerbench", tmp_path / "table", from_files=files, unsafe_pickle=True)
    table = load_table(str(tmp_path / "table"))
    assert (table.cost.rule, table.cost.value.tolist()) == ("billed", [0.375, 0.125])
    torch.testing.assert_close(table.error, torch.tensor([[0.0, 1.0], [0.75, 0.0]]))


def test_prompts_without_text_are_left_out_with_a_warning(tmp_path: Path, files: Path) -> None:
    made.mixinstruct(files)
    record = made.mixinstruct_record(2, "dolly_15k", ("owl", "hm", -1.0))
    (files / "val_data_prepared.jsonl").write_text(json.dumps({**record, "input": " "}) + "\n")
    with pytest.warns(UserWarning, match=r"1 of 4 prompts have no text and are left out"):
        size = prepare_table("mixinstruct", tmp_path / "table", from_files=files)
    assert size.num_prompts == 3


@pytest.mark.parametrize("name", made.PICKLED)
def test_pickle_is_not_opened_without_leave(tmp_path: Path, files: Path, name: str) -> None:
    made.WRITERS[name](files)
    with pytest.raises(DataError, match=r"can carry code.*unsafe_pickle if you accept that"):
        prepare_table(name, tmp_path / "table", from_files=files)
    assert not (tmp_path / "table").exists()


def test_unknown_table_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got 'mmlu', expected one of embedllm, routerbench, sprout, mixinstruct"):
        prepare_table("mmlu", tmp_path / "table")


def test_existing_output_is_left_alone(tmp_path: Path, files: Path) -> None:
    made.embedllm(files)
    kept = tmp_path / "table" / "kept.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(DataError, match=r"table: exists already.*Choose another one, or remove it"):
        prepare_table("embedllm", kept.parent, from_files=files)
    assert [file.name for file in kept.parent.iterdir()] == ["kept.txt"]


def test_failed_conversion_leaves_nothing_behind(tmp_path: Path, files: Path) -> None:
    made.embedllm(files)
    made.write_csv(files / "val.csv", made.EMBEDLLM_COLUMNS, [(4, 2, "nobody__owl", 7, "piqa", 2, "4 + 4?")])
    with pytest.raises(DataError, match=r"train.csv, val.csv, test.csv \(outcomes\): column 'score', row \d+: got 2"):
        prepare_table("embedllm", tmp_path / "table", from_files=files)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


@pytest.mark.parametrize("name", made.WRITERS)
def test_missing_file_is_refused_by_name(tmp_path: Path, files: Path, name: str) -> None:
    expected = PUBLIC_TABLES[name].files
    with pytest.raises(DataError, match=re.escape(f"{files / expected[0]}: no such file; {name} expects")):
        prepare_table(name, tmp_path / "table", from_files=files, unsafe_pickle=True)


@pytest.mark.parametrize(("name", "from_files"), [("embedllm", True), ("headlines", False)])
def test_revision_is_refused_where_there_is_none(tmp_path: Path, name: str, from_files: bool) -> None:
    with pytest.raises(DataError, match=r"revision: only files of the Hugging Face hub"):
        prepare_table(name, tmp_path / "t", from_files=tmp_path if from_files else None, revision="x")


@pytest.mark.parametrize("revision", [None, "elsewhere"])
def test_dataset_out_of_reach_is_refused_with_a_way_out(
    tmp_path: Path, revision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    expected = revision or "266ae3e180ccb533c86afc9cfb2f5db99d171aea"
    with pytest.raises(DataError, match=rf"RZ412/EmbedLLM@{expected}: cannot be downloaded .*from_files"):
        prepare_table("embedllm", tmp_path / "table", revision=revision)


def test_revisions_and_checksums_are_whole() -> None:
    for table in PUBLIC_TABLES.values():
        if isinstance(table.origin, HubFiles):
            assert table.origin.revision == "main" or re.fullmatch(r"[0-9a-f]{40}", table.origin.revision)
        assert all(re.fullmatch(r"[0-9a-f]{64}", checksum) for checksum in table.sha256.values())
        assert set(table.sha256) <= set(table.files)


@pytest.mark.parametrize("name", made.WRITERS)
def test_every_table_has_a_recipe_and_a_section(name: str) -> None:
    recipe = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())
    assert recipe["data"]["path"] == f"tables/{name}"
    page = (ROOT / "docs" / "evidence" / "public_tables.md").read_text()
    assert f"unirouter data prepare {name} --output tables/{name}" in page
    assert f"unirouter evaluate --config configs/{name}.yaml --trials 400" in page
    table = PUBLIC_TABLES[name]
    origin = table.origin
    facts = [origin.repository, origin.revision] if isinstance(origin, HubFiles) else origin.addresses.values()
    assert [fact for fact in (*facts, *table.sha256.values()) if fact not in page] == []
