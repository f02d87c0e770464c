"""Hooks of MkDocs: write the generated parts of the reference, and formulas as MathML.

A page asks for a generated part by a comment, ``<!-- generated: commands -->``. The parts come from the code that runs:
the parsers of the commands, the dataclasses of the configuration, the endpoints of the server, the public names.
"""

import argparse
import inspect
import json
import re
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from html import unescape
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from fastapi import FastAPI

import unirouter_torch
from unirouter_torch.cli import build_parser
from unirouter_torch.cli.options import field_texts
from unirouter_torch.config.files import to_plain
from unirouter_torch.config.recipes import purpose_of, recipes
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.serving.changes import Changes
from unirouter_torch.serving.endpoints import Endpoints
from unirouter_torch.serving.interface import add_changes, add_embeddings, add_endpoints, add_feedback
from unirouter_torch.serving.promotion import Promotion
from unirouter_torch.serving.views import Views

Part = TypeVar("Part")

BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "minItems": "at least",
    "maxItems": "at most",
    "maxLength": "characters: at most",
}

MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
REMOTE_WORKER = "https://unpkg.com/iframe-worker/shim"
LOADED = re.compile(
    r'<(?:script|img|iframe|link rel="(?:stylesheet|preconnect|icon)")[^>]*(?:src|href)="(https?://[^"]+)"'
)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace every marker by what its generator writes."""
    return MARKER.sub(lambda marker: "\n".join(GENERATORS[marker[1]]()), markdown)


def on_page_content(html: str, **_: object) -> str:
    """Turn formulas into MathML, which browsers show without a script or a font of ours."""
    from latex2mathml.converter import convert

    def formula(match: re.Match[str]) -> str:
        kind, source = match[1], unescape(match[2])
        mathml = convert(source, display="block" if kind == "div" else "inline")
        if re.search(r">[^<]*\\[^<]*<", mathml):
            raise ValueError(f"{source}: latex2mathml does not support a command of this formula. Use another one.")
        return f'<{kind} class="arithmatex">{mathml}</{kind}>'

    return FORMULA.sub(formula, html)


def on_post_page(output: str, page: Any, **_: object) -> str:
    """Load the search of pages on a disk from the site itself, where the theme would fetch it."""
    return output.replace(REMOTE_WORKER, "../" * page.url.count("/") + "assets/worker.js")


def on_post_template(output_content: str, **_: object) -> str:
    """The same on the page for wrong addresses."""
    return output_content.replace(REMOTE_WORKER, "assets/worker.js")


def on_post_build(config: Any, **_: object) -> None:
    """Refuse a site that loads anything from elsewhere when it is viewed."""
    for page in Path(config.site_dir).rglob("*.html"):
        for address in LOADED.findall(page.read_text()):
            raise ValueError(f"{page} loads {address}; a page may load nothing from elsewhere. Ship it in docs/assets.")


def configuration() -> Iterator[str]:
    """Every key of a recipe by section: default, values, meaning."""
    yield from _section(TrainConfig(), to_plain(TrainConfig()), "")


def commands() -> Iterator[str]:
    """Every command with its usage, arguments and defaults."""
    for name, help_text, parser in _leaves(build_parser(), "unirouter"):
        yield from ("", f"## {name}", "", _sentence(help_text), "")
        actions = sorted(parser._actions, key=lambda action: bool(action.option_strings))
        rows = [_argument(parser, action) for action in actions if action.dest != "help"]
        if rows:
            yield from ("| argument | default | meaning |", "|---|---|---|", *rows)
        if parser.epilog:
            yield from ("", _sentence(parser.epilog))


def public_names() -> Iterator[str]:
    """What ``from unirouter_torch import`` gives, with its docstrings."""
    for name in sorted(unirouter_torch.__all__):
        value = getattr(unirouter_torch, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            yield from ("", f"::: {value.__module__}.{value.__qualname__}")


def recipe_list() -> Iterator[str]:
    """Every recipe by name, with what it is for."""
    yield from ("| recipe | what it is for |", "|---|---|")
    for name, file in recipes().items():
        lines = [line for line in purpose_of(file).splitlines() if not line.startswith("unirouter ")]
        yield f"| `{name}` | {_cell(' '.join(lines))} |"


def endpoints() -> Iterator[str]:
    """Every endpoint of a server that is started with all that it can be asked to do, by its OpenAPI document."""
    document = _openapi_document()
    for path, operations in sorted(document["paths"].items()):
        for method, operation in operations.items():
            yield from _operation(f"{method.upper()} {path}", operation)
    yield from ("", "## Objects", "", "What the fields of requests and answers hold.")
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield from ("", f"### {name}", "", _sentence(schema.get("description", "").partition("\n\n")[0]), "")
        yield from _fields(schema)


GENERATORS = {
    "endpoints": endpoints,
    "recipes": recipe_list,
    "configuration": configuration,
    "commands": commands,
    "public_names": public_names,
}


def _openapi_document() -> dict[str, Any]:
    app, facts = FastAPI(title="unirouter"), _bare(Endpoints)
    add_endpoints(app, facts, facts, _bare(Views), _bare(Promotion))
    add_changes(app, _bare(Changes), takes_routers=True)
    add_feedback(app, facts)
    add_embeddings(app, facts)
    return app.openapi()


def _bare(kind: type[Part]) -> Part:
    """A part of a server without a router: only the signatures of its methods are read."""
    return kind.__new__(kind)


def _operation(name: str, operation: dict[str, Any]) -> Iterator[str]:
    yield from ("", f"## {name}", "", _sentence(operation.get("description", "")), "")
    for parameter in operation.get("parameters", ()):
        place = "in the path" if parameter["in"] == "path" else "after `?`"
        yield from (f"Takes `{parameter['name']}` {place}: {_kind(parameter['schema'])}.", "")
    body = operation.get("requestBody")
    if body is not None:
        schema = body["content"]["application/json"]["schema"]
        if "$ref" in schema:
            yield from (f"Takes {_kind(schema)}.", "")
        else:
            yield from _fields(schema)
            yield ""
    yield from ("| status | body | meaning |", "|---|---|---|")
    for status, answer in operation["responses"].items():
        kinds = [
            _kind(content["schema"]) if content.get("schema") and name == "application/json" else f"`{name}`"
            for name, content in answer.get("content", {}).items()
        ]
        yield f"| {status} | {' or '.join(kinds)} | {_cell(answer['description'])} |"


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    yield from ("| field | holds | meaning |", "|---|---|---|")
    for name, its in schema.get("properties", {}).items():
        needed = "" if name in schema.get("required", ()) else ", may be left out"
        yield f"| `{name}` | {_kind(its)}{needed} | {_cell(its.get('description', ''))} |"


def _kind(schema: dict[str, Any]) -> str:
    """What a schema lets through, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(one)}`" for one in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any JSON")
    bounds = ", ".join(f"{words} {schema[name]:,g}" for name, words in BOUNDS.items() if name in schema)
    if bounds:
        return f"{_kind({name: value for name, value in schema.items() if name not in BOUNDS})} ({bounds})"
    if kind == "array":
        inner = schema.get("items") or {}
        return f"list of {_kind(inner)}" if inner else "list"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object: from text to {_kind(schema['additionalProperties'])}"
    return {"string": "text", "boolean": "`true`, `false`", "null": "`null`"}.get(kind, str(kind))


def _section(defaults: Any, plain: dict[str, Any], prefix: str) -> Iterator[str]:
    kind: type = type(defaults)
    docs = field_texts(kind)
    own = [field for field in fields(kind) if not is_dataclass(getattr(defaults, field.name))]
    if own:
        title = f"`{prefix.rstrip('.')}`" if prefix else "The run"
        yield from ("", f"## {title}", "", _sentence(inspect.getdoc(kind) or ""), "")
        yield from ("| key | default | values | meaning |", "|---|---|---|---|")
    for field in own:
        default = plain[field.name]
        shown = default if isinstance(default, str) else json.dumps(default)
        yield f"| `{prefix}{field.name}` | `{shown}` | {_values(field.type)} | {_cell(docs[field.name])} |"
    for field in fields(kind):
        inner = getattr(defaults, field.name)
        if is_dataclass(inner):
            yield from _section(inner, plain[field.name], f"{prefix}{field.name}.")


def _values(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return ", ".join("`null`" if part is type(None) else _values(part) for part in get_args(annotation))
    if get_origin(annotation) is list:
        return f"list of {_values(get_args(annotation)[0])}"
    return {str: "text", int: "integer", float: "number", bool: "`true`, `false`"}[annotation]


def _leaves(
    parser: argparse.ArgumentParser, name: str, help_text: str = ""
) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield name, help_text, parser
    for group in groups:
        helps = {action.dest: action.help or "" for action in group._choices_actions}
        for choice, inner in group.choices.items():
            if choice in helps:  # an old name of a command has no entry of its own
                yield from _leaves(inner, f"{name} {choice}", helps[choice])


def _argument(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.choices is not None:
        metavar = " or ".join(str(choice) for choice in action.choices)
    flags = ", ".join(f"`{flag} {metavar}`" if action.nargs != 0 else f"`{flag}`" for flag in action.option_strings)
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    text, _, default = text.removesuffix(")").partition(" (default: ") if " (default: " in text else (text, "", "")
    if action.required and action.option_strings:
        default = "required"
    return f"| {flags or f'`{metavar}`'} | {_cell(default)} | {_cell(text)} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def _sentence(text: str) -> str:
    text = " ".join(text.replace("``", "`").split())
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") or not text else ".")
