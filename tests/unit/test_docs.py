import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from small_router import small_router, with_all_kinds_of_llms, with_far_clusters, with_latencies
from tiny_encoder import save_bert, save_static, save_static_with_form

import unirouter_torch
from unirouter_torch import __version__
from unirouter_torch.config.files import to_plain
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.router.router import Router

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
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
    for line in block("concepts/architecture.md", "## Layout").splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], line.split()[0]]
        paths.append("".join(folders))
    return paths


def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "scripts" / "docs_hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generated(part: str) -> str:
    return str(hooks().on_page_markdown(f"<!-- generated: {part} -->"))


def test_every_key_has_its_default_and_a_meaning_in_the_configuration_page() -> None:
    rows = [line.strip("| ").split(" | ") for line in generated("configuration").splitlines() if line.startswith("| `")]
    assert [(row[0], row[1]) for row in rows] == list(dotted(to_plain(TrainConfig())))
    assert [row[0] for row in rows if len(row) != 4 or len(row[3]) < 10] == []


def test_every_command_and_option_has_a_help_text_in_the_commands_page() -> None:
    lines = generated("commands").splitlines()
    assert {"## unirouter route", "## unirouter pool add", "## unirouter serve"} <= set(lines)
    assert [line for line in lines if line.startswith("| `") and line.endswith("|  |")] == []


def test_every_endpoint_and_object_is_in_the_page_of_endpoints() -> None:
    lines = generated("endpoints").splitlines()
    assert {"## POST /v1/route", "## GET /v1/models/{name}", "## POST /v1/router", "### ErrorReply"} <= set(lines)
    objects = {line.removeprefix("### ").lower() for line in lines if line.startswith("### ")}
    assert {name for line in lines for name in re.findall(r"\]\(#(\w+)\)", line)} <= objects
    assert "| 413 | [ErrorReply](#errorreply) | The body is too long. |" in lines


def test_every_public_class_and_function_is_in_the_api_page() -> None:
    shown = re.findall(r"^::: .+\.(\w+)$", generated("public_names"), re.MULTILINE)
    values = {name: getattr(unirouter_torch, name) for name in unirouter_torch.__all__}
    assert sorted(shown) == sorted(value.__name__ for value in values.values() if callable(value))


def test_a_marker_of_an_unknown_part_fails() -> None:
    with pytest.raises(KeyError):
        generated("nonsense")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_point_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    files = [link.partition("#")[0] for link in links if not re.match(r"\w+:", link)]
    assert [file for file in files if not (page.parent / file).exists()] == []


def test_every_term_of_the_glossary_occurs_in_the_code() -> None:
    terms = [term for _, _, in_code, _ in rows("concepts/glossary.md") for term in re.findall(r"`(\w+)`", in_code)]
    assert len(terms) > 30
    assert [term for term in terms if not re.search(rf"\b{term}\b", SOURCE)] == []


def test_layout_names_only_what_exists() -> None:
    paths = layout()
    assert "unirouter_torch/router/" in paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_layout_names_every_folder_and_module_at_the_top() -> None:
    top = {file.relative_to(ROOT).as_posix() for file in (ROOT / "unirouter_torch").glob("*.py")}
    folders = {f"{file.parent.relative_to(ROOT).as_posix()}/" for file in (ROOT / "unirouter_torch").glob("*/*.py")}
    assert (top | folders) - set(layout()) == {"unirouter_torch/__init__.py"}


def test_layers_are_those_that_are_enforced() -> None:
    contracts = (ROOT / "pyproject.toml").read_text()
    layers = re.search(r"^layers = \[\n(.*?)^\]", contracts, re.DOTALL | re.MULTILINE)
    assert layers is not None
    assert block("concepts/architecture.md", "## Layers").splitlines() == re.findall(r'"(.+)"', layers[1])


def test_citation_names_this_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


@pytest.fixture
def saved_router(tmp_path: Path) -> Path:
    small_router(tmp_path).save_pretrained(tmp_path / "router")
    return tmp_path / "router"


@pytest.mark.parametrize("save_encoder", [save_bert, save_static, save_static_with_form])
@pytest.mark.parametrize(
    "kinds",
    [(), (with_far_clusters,), (with_all_kinds_of_llms,), (with_far_clusters, with_all_kinds_of_llms, with_latencies)],
)
def test_router_loads_without_this_package_as_the_page_says(
    tmp_path: Path, save_encoder: Callable[..., Path], kinds: tuple[Callable[[Router], None], ...]
) -> None:
    router = small_router(tmp_path, save_encoder=save_encoder)
    for change in kinds:
        change(router)
    router.save_pretrained(tmp_path / "router")
    text = block("reference/artifact_format.md", "## Loading")
    assert "runs/quickstart/router" in text and "unirouter_torch" not in text
    text = text.replace("runs/quickstart/router", str(tmp_path / "router"))
    program = compile(text.replace('= "What is 17 + 25?", 0.1', "= PROMPT, WEIGHT"), "page", "exec")
    loaded = Router.from_pretrained(tmp_path / "router")
    for prompt in ("the otter sings", "red", "A long tale of 1 clock, a harbour and a kite: does it sing? \\"):
        for weight in (0.1, 0.0, 100.0):
            found: dict[str, Any] = {"PROMPT": prompt, "WEIGHT": weight}
            exec(program, found)
            (route,) = loaded.route([prompt], weight)
            torch.testing.assert_close(found["estimated_error"], torch.tensor(list(route.estimated_error.values())))
            assert found["cost"].tolist() == pytest.approx(list(route.cost.values()))
            assert found["llm"] == route.llm


def test_artifact_page_names_every_file_and_tensor(saved_router: Path) -> None:
    text = (DOCS / "reference/artifact_format.md").read_text()
    manifest = json.loads((saved_router / "manifest.json").read_text())
    names = [name.removeprefix("encoder/") for name in manifest["sha256"]]
    header = (saved_router / "router.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    names += [name for name in json.loads(header[8 : 8 + size]) if name != "__metadata__"]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_tables_of_peers_are_those_of_their_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    tables = importlib.import_module("peers_page").tables
    written = tables(json.loads((DOCS / "evidence" / "peers.json").read_text()))
    page = (DOCS / "evidence" / "peers.md").read_text()
    assert page.count(written) == 1


def test_readme_says_what_the_file_of_peers_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    says = importlib.import_module("peers_page").costs_beside_peers
    found = json.loads((DOCS / "evidence" / "peers.json").read_text())
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"quality: {says(found)} (" in readme


def test_table_of_few_labels_is_that_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    table_of = importlib.import_module("few_labels").table_of
    written = table_of(json.loads((DOCS / "evidence" / "few_labels.json").read_text()))
    assert (DOCS / "evidence" / "ablations.md").read_text().count(written) == 1
