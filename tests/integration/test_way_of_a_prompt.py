"""A prompt passes few files from the command to the choice, and none of them calls back up."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from small_router import small_router, with_all_kinds_of_llms
from tiny_encoder import save_bert, save_static_with_form

import unirouter_torch
from unirouter_torch.cli.route import RouteOptions, route
from unirouter_torch.router.router import Router
from unirouter_torch.routing.decision import choose_ranked

PACKAGE = Path(unirouter_torch.__file__).parent

WAYS = {
    save_static_with_form: [
        "cli/route.py",
        "router/router.py",
        "encoder/prompt_encoder.py",
        "encoder/static_encoder.py",
        "encoder/form.py",
        "routing/head.py",
        "router/chooser.py",
        "routing/decision.py",
    ],
    save_bert: [
        "cli/route.py",
        "router/router.py",
        "encoder/prompt_encoder.py",
        "encoder/transformer_encoder.py",
        "encoder/padding.py",
        "routing/head.py",
        "router/chooser.py",
        "routing/decision.py",
    ],
}


def stack_of(frame: FrameType | None) -> list[str]:
    """Files of the package that call down to a frame, the command first."""
    files: list[str] = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if PACKAGE in path.parents:
            files.insert(0, path.relative_to(PACKAGE).as_posix())
        frame = frame.f_back
    return files


def stacks_on_the_way(work: Callable[[], object]) -> list[list[str]]:
    """The stack at each call, from the first look at the prompts to the end of ``choose_ranked``."""
    stacks: list[list[str]] = []
    is_on_the_way = False

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal is_on_the_way
        if PACKAGE not in Path(frame.f_code.co_filename).parents:
            return
        if event == "call":
            is_on_the_way = is_on_the_way or frame.f_code.co_qualname == Router.texts.__qualname__
            if is_on_the_way:
                stacks.append(stack_of(frame))
        elif event == "return" and frame.f_code.co_qualname == choose_ranked.__qualname__:
            is_on_the_way = False

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return stacks


@pytest.mark.parametrize("save_encoder", WAYS)
def test_prompt_passes_at_most_eight_files_and_never_turns_back(
    tmp_path: Path, save_encoder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    router = small_router(tmp_path, save_encoder=save_encoder)
    with_all_kinds_of_llms(router)
    router.route(["once before, so that all that is made once is made"])
    monkeypatch.setattr(Router, "from_pretrained", lambda *_, **__: router)
    stacks = stacks_on_the_way(lambda: route(RouteOptions(router="loaded already", prompts=["Was ist größer?"])))
    way = WAYS[save_encoder]
    assert {file for stack in stacks for file in stack} == set(way) and len(way) <= 8
    for stack in stacks:
        assert stack == sorted(stack, key=way.index)


def test_way_in_the_docs_is_the_one_that_is_traced() -> None:
    page = (PACKAGE.parent / "docs" / "concepts" / "architecture.md").read_text()
    section = page.partition("## The way of a prompt")[2].partition("\n## ")[0]
    for way in WAYS.values():
        assert [section.index(f"`{file}`") for file in way] == sorted(section.index(f"`{file}`") for file in way)
