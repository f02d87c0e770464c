"""What a server logs, and that the next training reads it."""

import json
import stat
import sys
from pathlib import Path

import pytest

from unirouter_torch.data.load import load_table
from unirouter_torch.errors import ConfigError
from unirouter_torch.serving.settings import ServerSettings
from unirouter_torch.serving.traffic_log import TrafficLog, hashed, open_traffic_log


def rows_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in sorted(folder.iterdir()) for line in file.read_text("utf-8").splitlines()]


def test_log_begins_a_new_file_where_one_is_long_and_loses_no_row(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path / "log", most_bytes=200)
    for number in range(20):
        log.write("route", f"Prompt {number}\nin two lines", llm="small", cost=0.1)
    assert {row["prompt"] for row in rows_of(tmp_path / "log")} == {f"Prompt {n}\nin two lines" for n in range(20)}
    files = list((tmp_path / "log").iterdir())
    assert len(files) > 5
    if sys.platform != "win32":
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_feedback_is_read_back_as_outcomes_with_their_costs(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path)
    log.write("route", "How wide?", llm="small", cost=0.1, cost_weight=0.2, estimated_error={"small": 0.3})
    for llm, score, cost in (("small", 0.0, 0.1), ("large", 1.0, 0.5)):
        log.write("feedback", "How wide?", llm=llm, score=score, cost=cost)
    (file,) = tmp_path.iterdir()
    with pytest.warns(UserWarning, match="1 of 3 rows have no score"):
        table = load_table(str(file))
    assert table.llm_names == ["large", "small"] and table.prompt_texts == ["How wide?"]
    assert table.error.tolist() == [[0.0, 1.0]] and table.cost.value.tolist() == [0.5, 0.1]


def test_redaction_keeps_the_prompt_out_of_the_file(tmp_path: Path) -> None:
    secret = "The password is heron"
    for name in ("hash", "unirouter_torch.serving.traffic_log:hashed"):
        log = open_traffic_log(tmp_path / name.partition(":")[0], name)
        assert log is not None
        log.write("route", secret, llm="small")
        (row,) = rows_of(tmp_path / name.partition(":")[0])
        assert row["prompt"] == hashed(secret) and "heron" not in json.dumps(row)


def test_nothing_is_logged_unless_asked_for_and_wrong_settings_are_refused(tmp_path: Path) -> None:
    assert open_traffic_log(None, None) is None
    with pytest.raises(ConfigError, match="redact: 'nowhere:f' cannot be imported"):
        open_traffic_log(tmp_path, "nowhere:f")
    with pytest.raises(ConfigError, match=r"redact: 'sys:path' is .* expected a function"):
        open_traffic_log(tmp_path, "sys:path")
    with pytest.raises(ConfigError, match="redact: expected only with log_to"):
        ServerSettings(redact="hash")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"log_to: .* cannot be written to"):
        open_traffic_log(tmp_path / "file", None)
