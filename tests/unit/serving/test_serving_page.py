"""The pages of the server say what is true."""

import json
import re
from pathlib import Path

import pytest

from unirouter_torch.cli.options import options_of
from unirouter_torch.cli.serve import ServeOptions
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.requests import FeedbackRequest, RouteRequest
from unirouter_torch.serving.upstreams import read_upstreams

PAGES = Path(__file__).parents[3] / "docs" / "how_to"
PAGE = "\n".join((PAGES / name).read_text() for name in ("serving.md", "deploy.md"))


def table_after(heading: str) -> list[list[str]]:
    """Rows of the first table after a heading, without its head."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    length = next(number for number, line in enumerate(lines[first:]) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[first + 2 : first + length]]


def test_every_option_stands_in_the_table_with_its_default() -> None:
    declared = {option.name: option.default for option in options_of(ServeOptions)}
    documented = {}
    for names, _, default in table_after("# Run the server"):
        flags = re.findall(r"--([a-z-]+)", names)
        documented |= dict(zip(flags, default.split(", "), strict=len(flags) > 1))
    assert {name.replace("-", "_") for name in documented} == set(declared)
    for name in ("host", "port", "fallbacks"):
        assert float_or_text(documented[name]) == float_or_text(declared[name])


def float_or_text(value: object) -> object:
    try:
        return float(str(value))
    except ValueError:
        return str(value)


def test_every_count_stands_in_the_table() -> None:
    counted = set(re.findall(r"^# HELP (\w+)", Metrics().text().decode(), re.MULTILINE))
    counted = {name for name in counted if not name.endswith("_created")}
    assert {row[0].strip("`") for row in table_after("## What it counts")} == counted


def test_upstream_file_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    monkeypatch.setenv("LARGE_API_KEY", "sk-made-up")
    (tmp_path / "upstreams.yaml").write_text(example)
    small, large = read_upstreams(tmp_path / "upstreams.yaml").values()
    assert (small.model, small.timeout, large.model, large.timeout) == ("small", 600.0, "org/large-2026-11", 120.0)


def test_bodies_of_its_requests_are_accepted() -> None:
    route, feedback = re.findall(r"-d '(.*)'", PAGE)
    assert RouteRequest.model_validate_json(route).cost_weight == 0.1
    assert FeedbackRequest.model_validate_json(feedback).half_life == 1000
    told = PAGE[PAGE.index("## Where prompts go") : PAGE.index("## Chat")]
    assert set(RouteRequest.model_fields) <= set(re.findall(r"`(\w+)`", told))
    assert all(json.loads(body) for body in (route, feedback))
