"""The site: every page is found, readable in one sitting, in plain words, and its links and code are right."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from unirouter_torch.cli import build_parser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PROSE = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
QUAINT = (
    r"mend(s|ed|ing)?|for want of|dear(er|est)?|heed(s|ed)?|stands|stood|(told|tells?|telling) (\w+ ){0,5}apart|"
    r"told by|as ever|to speak of|of no matter|in the place of|at hand|whoever|has no say|thereof|whence|"
    r"part (neither|either|llms|equal)|parted|out of the race|beyond doubt|is to be had|want of"
)
QUESTIONS = {
    "own CSV": "unirouter adopt",
    "add an LLM": "unirouter pool add",
    "cost weight": "the error that you accept to save one reference cost",
    "How good": "Sign test|sign test",
    "GPU": "GPU",
    "serve": "unirouter serve",
    "another encoder": "--encoder.name",
    "fine-tune": "encoder_training.mode",
    "write a method": "RoutingMethod",
    "leaves my machine": "Nothing, unless",
}
LONG = {"reference", "evidence"}
PARSER = build_parser()


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """What is read as text: no code, no formulas, no addresses of links."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)", " ", text)


def slugs(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    heads = [re.sub(r"[^\w\s-]", "", head.lower()).strip() for head in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    return {re.sub(r"[\s-]+", "-", head) for head in heads}


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PROSE:
        for block in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            yield name(page), block


def in_navigation(entries: list[object]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            if isinstance(value, list):
                yield from in_navigation(value)
            else:
                yield str(value)


def test_navigation_names_every_page_once() -> None:
    listed = list(in_navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name not in LONG], ids=name)
def test_a_page_is_read_in_one_sitting(page: Path) -> None:
    assert len(page.read_text().split()) <= 1500


@pytest.mark.parametrize("page", PROSE, ids=name)
def test_pages_use_the_plain_words_of_the_field(page: Path) -> None:
    assert [match[0] for match in re.finditer(rf"\b({QUAINT})\b", prose(page), re.IGNORECASE)] == []


def test_help_texts_use_the_plain_words_of_the_field() -> None:
    def texts(parser: object) -> Iterator[str]:
        for action in parser._actions:  # type: ignore[attr-defined]
            yield action.help or ""
            for inner in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
                yield from texts(inner)
            yield from (choice.help or "" for choice in getattr(action, "_choices_actions", ()))

    text = re.sub(r"`[^`]*`", " ", "\n".join(texts(PARSER)))
    assert [match[0] for match in re.finditer(rf"\b({QUAINT})\b", text, re.IGNORECASE)] == []


@pytest.mark.parametrize("page", PROSE, ids=name)
def test_links_point_to_headings_that_exist(page: Path) -> None:
    wrong = []
    for link in re.findall(r"(?<!!)\]\(([^)\s]+)\)", page.read_text()):
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        generated = target.name in ("commands.md", "configuration.md", "api.md", "http.md")
        if re.match(r"\w+:", link) or not anchor or target.suffix != ".md" or generated:
            continue
        if anchor not in slugs(target):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_newcomers_question_is_answered_within_two_clicks(question: str) -> None:
    rows = re.findall(r"^\| .*\? \| .*$", (DOCS / "index.md").read_text(), re.MULTILINE)
    (row,) = [row for row in rows if question in row.partition("?")[0]]
    answer = row + "".join((DOCS / file).read_text() for file in re.findall(r"\]\(([^)#]+)", row))
    assert re.search(QUESTIONS[question], answer)


def test_the_first_page_lists_ten_questions() -> None:
    rows = [line for line in (DOCS / "index.md").read_text().splitlines() if re.match(r"\| .*\? \|", line)]
    assert len(rows) == len(QUESTIONS) == 10


def test_python_blocks_are_python() -> None:
    for _, block in blocks("python"):
        ast.parse(block)


def test_commands_in_blocks_have_the_options_that_they_use() -> None:
    wrong = []
    for page, block in blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            words = words[next((k for k, word in enumerate(words) if "=" not in word.split(" ")[0]), 0) :]
            if words[:1] == ["unirouter"]:
                wrong += [f"{page}: {line}: {word}" for word in unknown(words[1:])]
    assert wrong == []


def unknown(words: list[str]) -> list[str]:
    """Words of a command line that the parsers do not know; synopses have their options in brackets."""
    parser, takes_settings = PARSER, False
    found = []
    for word in (word.strip("[]") for word in words):
        groups = [action for action in parser._actions if isinstance(action.choices, dict)]
        if word.startswith("--"):
            takes_settings = takes_settings or getattr(parser, "takes_settings", False)
            known = {flag for action in parser._actions for flag in action.option_strings}
            if word.partition("=")[0] not in known and not (
                takes_settings and (word == "--config" or "." in word or "_" in word)
            ):
                found.append(word)
        elif groups:
            if word not in groups[0].choices:  # type: ignore[operator]
                return [word]
            parser = groups[0].choices[word]  # type: ignore[index]
    return found
