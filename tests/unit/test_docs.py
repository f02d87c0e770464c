import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_encoder
import torch
import yaml

from unirouter_torch import __version__
from unirouter_torch.config.files import to_plain
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.modeling.encoder import PromptEncoder
from unirouter_torch.modeling.head import ClusterHead
from unirouter_torch.modeling.router import Router
from unirouter_torch.modeling.router_files import CalibrationPrompts
from unirouter_torch.routing.cluster_error import sum_by_cluster
from unirouter_torch.routing.pool import LLMPool

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
SOURCE = "\n".join(file.read_text() for file in sorted((ROOT / "unirouter_torch").rglob("*.py")))


def rows(page: str) -> list[list[str]]:
    lines = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def dotted(plain: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in plain.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"`{prefix}{key}`", f"`{value if isinstance(value, str) else json.dumps(value)}`"


def block(page: str, after: str) -> str:
    text = (DOCS / page).read_text()
    return re.split(r"```\w*\n", text[text.index(after) :], maxsplit=2)[1].rstrip("`\n")


def layout() -> list[str]:
    paths: list[str] = []
    folders: list[str] = []
    for line in block("architecture.md", "## Layout").splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], line.split()[0]]
        paths.append("".join(folders))
    return paths


def test_every_key_stands_in_the_configuration_page_with_its_default() -> None:
    documented = [(key, default) for key, default, *_ in rows("configuration.md") if key != "key"]
    assert documented == list(dotted(to_plain(TrainConfig())))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_point_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    files = [link.partition("#")[0] for link in links if not re.match(r"\w+:", link)]
    assert [file for file in files if not (page.parent / file).exists()] == []


def test_every_term_of_the_glossary_occurs_in_the_code() -> None:
    terms = [term for _, _, in_code, _ in rows("glossary.md") for term in re.findall(r"`(\w+)`", in_code)]
    assert len(terms) > 30
    assert [term for term in terms if not re.search(rf"\b{term}\b", SOURCE)] == []


def test_layout_names_only_what_exists() -> None:
    paths = layout()
    assert "unirouter_torch/modeling/router.py" in paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_layout_names_every_module() -> None:
    modules = {file.relative_to(ROOT).as_posix() for file in (ROOT / "unirouter_torch").rglob("*.py")}
    folders = tuple(path for path in layout() if path.endswith(("sources/", "public/", "simulate/")))
    missing = {path for path in modules - set(layout()) if not path.endswith("__init__.py")}
    assert {path for path in missing if not path.startswith(folders)} == set()


def test_layers_are_those_that_are_enforced() -> None:
    contracts = (ROOT / "pyproject.toml").read_text()
    layers = re.search(r"^layers = \[\n(.*?)^\]", contracts, re.DOTALL | re.MULTILINE)
    assert layers is not None
    assert block("architecture.md", "## Layers").splitlines() == re.findall(r'"(.+)"', layers[1])


def test_citation_names_this_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


@pytest.fixture
def saved_router(tmp_path: Path) -> Path:
    folder = tiny_encoder.save_bert(tmp_path / "bert", pooling={"pooling_mode_mean_tokens": True})
    encoder, head = PromptEncoder.from_pretrained(str(folder)), ClusterHead(tiny_encoder.DIM, 3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        head.linear.weight.normal_(generator=generator)
        head.log_shrinkage.fill_(0.4)
    texts = ("seven kites", "why the clock", "a")
    probability = head(encoder.embed(texts)).detach()
    error = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.2, 0.0], [0.0, 1.0, 0.9]])
    observed = torch.tensor([[True, True, False], [True, True, True], [True, False, True]])
    Router(
        encoder=encoder,
        head=head,
        pool=LLMPool(
            names=("heron", "wren", "teal"),
            cost=torch.tensor([1.0, 0.2, 4.0], dtype=torch.float64),
            sums=sum_by_cluster(probability, error, observed),
            cost_unit="US dollars per prompt",
            cost_is_estimate=False,
            reference_cost=5.0,
        ),
        calibration=CalibrationPrompts(prompt_ids=("p", "q", "r"), texts=texts, cluster_probability=probability),
        about={},
    ).save_pretrained(tmp_path / "router")
    return tmp_path / "router"


def test_router_loads_without_this_package_as_the_page_says(saved_router: Path) -> None:
    code = block("artifact_format.md", "## Loading")
    assert "runs/quickstart/router" in code and "unirouter_torch" not in code
    found: dict[str, Any] = {}
    code = code.replace("runs/quickstart/router", str(saved_router)).replace("What is 17 + 25?", "the otter sings")
    exec(code, found)
    (route,) = Router.from_pretrained(saved_router).route(["the otter sings"], cost_weight=0.1)
    torch.testing.assert_close(found["estimated_error"], torch.tensor(list(route.estimated_error.values())))
    assert found["llm"] == route.llm


def test_artifact_page_names_every_file_and_tensor(saved_router: Path) -> None:
    text = (DOCS / "artifact_format.md").read_text()
    manifest = json.loads((saved_router / "manifest.json").read_text())
    names = [name.removeprefix("encoder/") for name in manifest["sha256"]]
    header = (saved_router / "router.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    names += [name for name in json.loads(header[8 : 8 + size]) if name != "__metadata__"]
    assert [name for name in names if f"`{name}`" not in text] == []
