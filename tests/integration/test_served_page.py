"""The page of ``unirouter serve`` in a real browser: all tabs, hostile names and prompts, 200 LLMs, axe-core."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installed_browser import installed_browser
from misbehaving_endpoint import endpoint_on_loopback
from served_router import Served, saved_router, served, write_upstreams
from small_router import PROMPTS, small_router

from unirouter_torch.router.router import Router
from unirouter_torch.routing.latency import Latency
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.trial import Trial

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")

HOSTILE = """<img src=x onerror="window.pwned = 1">'"`${1}&amp;</script><script>window.pwned = 1</script>"""
NAMES = [
    "small",
    "large",
    HOSTILE,
    "\u202egnp.exe",
    "x" * 300,
    *(f"provider/model-{number:03}" for number in range(195)),
]
KEY = "sesame"
TABS = ("try", "pool", "curve", "traffic")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A router with 200 LLMs, some of hostile names; one is disabled, the latency of all is known."""
    place = tmp_path_factory.mktemp("page")
    router = small_router(place)
    prompts = PROMPTS | {"p0": HOSTILE}
    scores = {
        name: {prompt: float((row + col) % 3 > 0) for col, prompt in enumerate(prompts)}
        for row, name in enumerate(NAMES)
    }
    router.calibrate(prompts, scores, {name: 0.01 * (row + 1) for row, name in enumerate(NAMES)})
    for name in NAMES:
        router.pool = router.pool.with_changes(name, latency=Latency(seconds=1.0))
    router.save_pretrained(place / "router")
    router.pool = router.pool.with_changes("large", is_available=False)
    router.save_pool(f"disable {HOSTILE}")
    return place / "router"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    def shadow(metrics: Metrics) -> Trial:
        return Trial("shadow", LiveRouter(Router.from_pretrained(folder), Metrics()), metrics)

    with endpoint_on_loopback() as endpoint:
        endpoint.default = "stream"
        file = write_upstreams(
            folder.parent / "upstreams.yaml", {name: {"base_url": endpoint.url, "model": "m"} for name in NAMES}
        )
        with served(folder, file, change_key=KEY, trial=shadow) as found:
            yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = installed_browser()
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


class Page:
    """A page that is looked at, and what went wrong in it."""

    def __init__(self, browser: Any, server: Served, **settings: Any) -> None:
        self.context = browser.new_context(**settings)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(60_000)
        self.mistakes: list[str] = []
        self.addresses: set[str] = set()
        self.tab.on("pageerror", lambda error: self.mistakes.append(str(error)))
        self.tab.on("console", lambda said: self.mistakes.append(said.text) if said.type == "error" else None)
        self.tab.on("request", lambda request: self.addresses.add(request.url.removeprefix(server.url).split("?")[0]))
        self.tab.goto(f"{server.url}/")
        playwright.expect(self.tab.locator("#status")).to_contain_text("in service", timeout=60_000)

    def open(self, name: str) -> None:
        self.tab.click(f"#tab-{name}")
        ready = {
            "try": "#try-result",
            "pool": "#history table",
            "curve": "#curve-chart svg",
            "traffic": "#tiles .tile",
        }[name]
        self.tab.wait_for_selector(ready)

    def type_prompt(self, text: str) -> None:
        self.tab.fill("#prompt", text)
        self.tab.wait_for_selector("#try-result .choice")


@pytest.fixture
def page(browser: Any, server: Served) -> Iterator[Page]:
    found = Page(browser, server)
    yield found
    assert found.mistakes == []
    assert found.tab.evaluate("window.pwned") is None
    assert all(address.startswith("/") for address in found.addresses)
    found.context.close()


def test_choice_is_explained_as_the_router_makes_it(page: Page, server: Served) -> None:
    page.type_prompt(HOSTILE)
    (route,) = server.live.router.route([HOSTILE], 0.1, llms=server.live.open_to_chats)
    assert page.tab.inner_text(".chosen-name") == route.llm
    assert f"{route.estimated_error[route.llm]:.3f}" in page.tab.inner_text(".choice")
    assert page.tab.locator("#try-result tbody tr").count() == 20
    page.tab.click("text=Show all 200 LLMs")
    assert page.tab.locator("#try-result tbody tr").count() == 200
    assert HOSTILE in page.tab.inner_text("#try-result")


def test_slider_moves_the_choice_to_the_cheapest(page: Page) -> None:
    page.type_prompt("the otter sings")
    page.tab.focus("#cost-weight")
    page.tab.keyboard.press("End")
    playwright.expect(page.tab.locator(".chosen-name")).to_have_text("small", timeout=60_000)
    assert page.tab.inner_text("#cost-weight-told") == "100"
    assert page.tab.get_attribute("#cost-weight", "aria-valuetext") == "100"


def test_prompts_a_line_each_and_a_conversation(page: Page) -> None:
    page.tab.check("input[value=lines]", force=True)
    page.type_prompt("the otter sings\n\na red kite\n<b>x</b>")
    page.tab.wait_for_selector("text=3 prompts")
    page.tab.check("input[value=conversation]", force=True)
    page.tab.fill("#prompt", "user: the clock\nassistant: yes\nuser: a red kite")
    page.tab.wait_for_selector("text=Text that it is routed by")
    assert "a red kite" in page.tab.inner_text("#try-result blockquote >> nth=0")


def test_answer_is_streamed(page: Page) -> None:
    page.type_prompt("the otter sings")
    page.tab.click("#ask")
    playwright.expect(page.tab.locator("#answer")).to_contain_text("otter", timeout=60_000)
    assert page.tab.inner_text("#answer-from").startswith("From ")


def test_pool_is_filtered_sorted_and_shown_by_keyboard(page: Page) -> None:
    page.open("pool")
    assert page.tab.locator("#pool-table tbody tr").count() == 200
    page.tab.fill("#filter", "LARGE")
    assert page.tab.locator("#pool-table tbody tr").count() == 1
    assert "disabled" in page.tab.inner_text("#pool-table tbody")
    page.tab.fill("#filter", "onerror")
    page.tab.focus("#pool-table tbody button")
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_selector("#profile[open]")
    assert page.tab.inner_text("#profile-title") == HOSTILE
    page.tab.keyboard.press("Escape")
    page.tab.fill("#filter", "")
    page.tab.click("#pool-table thead button:text-is('Cost')")
    costs = [float(text) for text in page.tab.locator("#pool-table tbody td:nth-child(5)").all_inner_texts()]
    assert costs == sorted(costs)
    assert HOSTILE in page.tab.inner_text("#history")


def test_curve_shows_every_llm_and_the_setting_in_force(page: Page) -> None:
    page.open("curve")
    assert page.tab.locator("#curve-chart .llm-point").count() == 200
    assert page.tab.locator("#curve-chart .in-force").count() == 1
    page.tab.check("#log-cost")
    assert "NaN" not in page.tab.inner_html("#curve-chart")


def test_traffic_is_live(page: Page, server: Served) -> None:
    page.open("traffic")
    tile = page.tab.locator("#tiles dd").first
    before = int(tile.inner_text().split()[0])
    server.http.post("/v1/route", json={"prompts": ["the clock"] * 3})
    playwright.expect(tile).to_contain_text(str(before + 3), timeout=60_000)
    page.tab.wait_for_selector("#trial table")
    assert "Shadow" in page.tab.inner_text("#router-facts")


def test_changes_need_the_key_and_go_into_the_history(browser: Any, server: Served, folder: Path) -> None:
    page = Page(browser, server)
    page.open("pool")
    page.tab.fill("#filter", "large")
    page.tab.click("#pool-table tbody button")
    page.tab.click("#profile button:text-is('Enable')")
    page.tab.fill("#key", "another key")
    page.tab.keyboard.press("Enter")
    page.tab.click("#pool-table tbody button")
    page.tab.click("#profile button:text-is('Enable')")
    page.tab.wait_for_selector("#key-dialog[open]")
    assert not server.live.router.pool["large"].is_available
    page.tab.fill("#key", KEY)
    page.tab.keyboard.press("Enter")
    page.tab.click("#pool-table tbody button")
    page.tab.click("#profile button:text-is('Enable')")
    page.tab.wait_for_selector("#history >> text=enable large")
    page.tab.click("#pool-table tbody button")
    page.tab.fill("#profile input[name=cost]", "7.5")
    page.tab.click("#profile button:text-is('Reprice')")
    page.tab.wait_for_selector("#history >> text=reprice large to cost 7.5")
    for _ in range(2):
        with page.tab.expect_response("**/v1/pool/history"):
            page.tab.click("#undo")
    saved = Router.from_pretrained(folder)
    assert [one.change.what for one in saved.pool_history()[-2:]] == ["back to revision 2", "back to revision 1"]
    assert not saved.pool["large"].is_available
    assert page.tab.evaluate("window.pwned") is None
    page.context.close()


def test_second_router_is_promoted_and_taken_back(browser: Any, tmp_path: Path) -> None:
    first = saved_router(tmp_path)
    second = saved_router(tmp_path / "static", "static").rename(tmp_path / "second")

    def shadow(metrics: Metrics) -> Trial:
        return Trial("shadow", LiveRouter(Router.from_pretrained(second), Metrics()), metrics)

    with served(first, change_key=KEY, trial=shadow) as server:
        page = Page(browser, server)
        page.open("traffic")
        facts = page.tab.locator("#router-facts")
        playwright.expect(facts).to_contain_text("second", timeout=60_000)
        assert page.tab.is_hidden("#back")
        page.tab.click("#promote")
        page.tab.wait_for_selector("#key-dialog[open]")
        page.tab.fill("#key", KEY)
        page.tab.keyboard.press("Enter")
        assert server.live.router.saved is not None and server.live.router.saved.folder == first
        page.tab.click("#promote")
        playwright.expect(page.tab.locator("#back")).to_be_visible(timeout=60_000)
        assert server.http.get("/v1/router").json() == {"router": "second", "before": "router", "trial": None}
        assert "Before" in facts.inner_text() and page.tab.is_hidden("#promote")
        page.open("try")
        page.type_prompt("the otter sings")
        (route,) = Router.from_pretrained(second).route(["the otter sings"])
        assert page.tab.inner_text(".chosen-name") == route.llm
        assert f"{route.estimated_error[route.llm]:.3f}" in page.tab.inner_text(".choice")
        page.open("traffic")
        page.tab.click("#back")
        playwright.expect(facts.locator("dd").first).to_have_text("router", timeout=60_000)
        assert server.live.router.saved.folder == first
        page.context.close()


@pytest.mark.parametrize("width", [400, 1280, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_has_no_serious_findings_and_fits(browser: Any, server: Served, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="no axe-core: pip install axe-playwright-python")
    page = Page(browser, server, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page.type_prompt(HOSTILE)
    page.tab.evaluate(axe.AXE_SCRIPT)
    for name in TABS:
        page.open(name)
        assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        found = page.tab.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        serious = [
            (one["id"], [node["html"][:200] for node in one["nodes"][:3]])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], f"{name}: {json.dumps(serious, indent=1)}"
    page.context.close()


def test_nothing_but_its_own_scripts_may_run(server: Served) -> None:
    response = server.http.get("/")
    assert response.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "<script>" not in response.text
    assert " style=" not in response.text
    assert " onclick" not in response.text
    for name in ("../app.py", "main.py", "none.js"):
        assert server.http.get(f"/page/{name}").status_code == 404
