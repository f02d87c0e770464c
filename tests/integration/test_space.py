"""The Gradio app for a Space, in a browser; Gradio asks for an older Pillow than ours: see its README."""

import runpy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from installed_browser import installed_browser
from miniature import ROOT

from unirouter_torch import Router

SPACE = ROOT / "examples" / "space"
RIVER, SUM = "Which river runs through Basel?", "I eat 5 of 9 apples. How many are left?"


def test_the_space_says_what_it_runs() -> None:
    _, front, _ = (SPACE / "README.md").read_text().split("---\n", 2)
    said = yaml.safe_load(front)
    assert said["sdk"] == "gradio" and (SPACE / said["app_file"]).exists()
    needed = (SPACE / "requirements.txt").read_text()
    assert f"gradio>={said['sdk_version'].rpartition('.')[0]}," in needed and "unirouter_torch" in needed


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The app, looked at by a narrow screen."""
    pytest.importorskip("gradio", reason="gradio is not installed: it needs an environment of its own")
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    found = installed_browser()
    monkeypatch.delenv("ROUTER", raising=False)
    app = runpy.run_path(str(SPACE / "app.py"))
    _, address, _ = app["demo"].launch(prevent_thread_lock=True, quiet=True)
    try:
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 400, "height": 900})
            tab.app = app
            tab.goto(address)
            yield tab
            browser.close()
    finally:
        app["demo"].close()


@pytest.mark.filterwarnings("ignore")  # what Gradio itself warns of is not ours
def test_the_space_routes_estimates_and_draws(page: Any) -> None:
    from playwright.sync_api import expect

    router: Router = page.app["router"]
    chosen = page.locator("#chosen")
    for prompt in (RIVER, SUM):
        (route,) = router.route([prompt], 0.1)
        page.get_by_label("Prompt", exact=True).fill(prompt)
        expect(chosen).to_have_text(route.llm, timeout=60_000)
        expect(page.locator("#estimates")).to_contain_text(f"{route.estimated_error[route.llm]:.3f}"[:4])
    assert router.choose([RIVER], 0.1) != router.choose([SUM], 0.1)
    page.get_by_label("number input for Cost weight").fill("1")
    page.keyboard.press("Tab")
    expect(chosen).to_have_text(router.choose([SUM], 1.0)[0], timeout=60_000)
    expect(page.locator("#curve svg, #curve canvas").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
