"""``report.html`` of a miniature run in a headless browser: no script error, every figure drawn, nothing requested."""

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from installed_browser import installed_browser
from miniature import miniature

from unirouter_torch.cli import main

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"),
    *("--disable-background-networking", "--disable-sync", "--virtual-time-budget=20000", "--enable-logging=stderr"),
)
METHODS = ("zero", "kmeans", "end_to_end", "oracle")

WATCH = """<script>
window.mistakes = [];
addEventListener("error", event => mistakes.push(String(event.message)));
addEventListener("unhandledrejection", event => mistakes.push(String(event.reason)));
addEventListener("securitypolicyviolation", event => mistakes.push("refused " + event.blockedURI));
</script>"""

ASK = """<script>
addEventListener("load", async () => {
  const settled = () => new Promise(resolve => setTimeout(resolve, 500));
  const visible = plot => plot._fullData.filter(trace => trace.visible === true);
  await settled();
  const plots = [...document.querySelectorAll(".plot")].map(plot => ({
    id: plot.id,
    names: plot._fullData.filter(trace => trace.visible && trace.showlegend !== false).map(trace => trace.name),
    asked: visible(plot).length,
    drawn: plot.querySelectorAll(".scatterlayer .trace, .heatmaplayer .hm").length,
    marks: plot.querySelectorAll("path.js-line, path.js-fill, path.point, .hm image").length,
    legendIsBelow: plot._fullLayout.legend?.y < 0,
  }));
  const curves = document.getElementById("plot-curves");
  const before = visible(curves).filter(trace => trace.meta === "band").length;
  for (const box of document.querySelectorAll("input")) box.click();
  const choice = document.querySelector("select[data-plot]");
  choice.value = "kmeans";
  choice.dispatchEvent(new Event("change"));
  await settled();
  const answer = {
    plots,
    bands: [before, visible(curves).filter(trace => trace.meta === "band").length],
    axis: curves._fullLayout.xaxis.type,
    shares: [...new Set(visible(document.getElementById("plot-shares")).map(trace => trace.meta))],
    sideways: document.documentElement.scrollWidth - innerWidth,
    requests: performance.getEntriesByType("resource").map(entry => entry.name),
    mistakes,
  };
  parent.postMessage(JSON.stringify(answer), "*");
});
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    return installed_browser()


@pytest.fixture(scope="module")
def page(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    settings = ["--evaluation.methods", f"[{', '.join(METHODS)}]", "--evaluation.sweeps.num_calibration", "[6, 12]"]
    run = miniature(workshop, "--output_dir", str(folder), *settings, table="simulated:600x12")
    assert main(["evaluate", "--trials", "2", "--workers", "1", *run]) == 0
    return (folder / "report.html").read_text(encoding="utf-8")


FRAME = """<!DOCTYPE html><body><iframe src="page.html" style="width: {width}px; height: 8000px; border: 0"></iframe>
<script>
addEventListener("message", event => {{
  const place = document.createElement("pre");
  place.id = "answer";
  place.textContent = btoa(unescape(encodeURIComponent(event.data)));
  document.body.append(place);
}});
</script></body>"""


def ask(browser: str, page: str, folder: Path, *, width: int = 1280) -> dict[str, Any]:
    """What the page answers about itself in a window of some width [pixels]; ``log`` is what the browser wrote."""
    head, end, tail = page.replace("<head>", f"<head>{WATCH}", 1).rpartition("</body>")
    (folder / "page.html").write_text(f"{head}{ASK}{end}{tail}", encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    command = [browser, *QUIET, f"--user-data-dir={folder / 'profile'}", "--window-size=1400,8000", "--dump-dom"]
    places = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), str(folder))
    found = subprocess.run(
        [*command, (folder / "frame.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env=os.environ | places,
    )
    answer = re.search('<pre id="answer">(.*?)</pre>', found.stdout)
    assert answer is not None, found.stderr
    return {**json.loads(base64.b64decode(answer[1])), "log": found.stderr}


@pytest.fixture(scope="module")
def answer(browser: str, page: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return ask(browser, page, tmp_path_factory.mktemp("wide"))


def test_no_script_fails(answer: dict[str, Any]) -> None:
    assert answer["mistakes"] == []
    assert "Uncaught" not in answer["log"]


def test_every_figure_is_drawn(answer: dict[str, Any]) -> None:
    plots = {plot["id"]: plot for plot in answer["plots"]}
    assert list(plots) == ["plot-curves", "plot-sweep-0", "plot-shares", "plot-sources", "plot-reliability"]
    for plot in plots.values():
        assert plot["asked"] > 0
        assert plot["drawn"] == plot["asked"]
        assert plot["marks"] >= plot["drawn"]
    for name in ("plot-curves", "plot-sweep-0", "plot-reliability"):
        for method in ("ZeroRouter", "UniRoute K-means", "End-to-end", "Oracle"):
            assert any(method in entry for entry in plots[name]["names"])


def test_controls_change_the_figures(answer: dict[str, Any]) -> None:
    # that of the reference at first, then those of all methods but the oracle, which waits in the legend
    assert answer["bands"] == [1, 3]
    assert answer["axis"] == "linear"
    assert answer["shares"] == ["kmeans"]


def test_nothing_is_requested(answer: dict[str, Any]) -> None:
    assert answer["requests"] == []


def test_narrow_page_does_not_scroll_sideways_and_has_legends_below(browser: str, page: str, tmp_path: Path) -> None:
    narrow = ask(browser, page, tmp_path, width=400)
    assert narrow["mistakes"] == []
    assert narrow["sideways"] <= 0
    assert [plot["legendIsBelow"] for plot in narrow["plots"]] == [True, True, True, False, True]


def test_watch_sees_mistakes_and_requests(browser: str, page: str, tmp_path: Path) -> None:
    spoilt = page.replace("</body>", '<img src="http://localhost:9/x.png"><script>absent();</script></body>')
    found = ask(browser, spoilt, tmp_path)
    assert any("absent" in mistake for mistake in found["mistakes"])
    assert any(mistake.startswith("refused http://localhost") for mistake in found["mistakes"])
