"""A package of somebody else, installed by pip, brings a method, a reader and a grader."""

import importlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from miniature import miniature
from small_router import PROMPTS, small_router

from unirouter_torch.cli import main
from unirouter_torch.router.router import Router

MODULE = '''
from pathlib import Path

import torch

from unirouter_torch import RoutingMethod
from unirouter_torch.data.outcomes import OutcomeRow
from unirouter_torch.data.outcomes.reader import OutcomesReader
from unirouter_torch.measurement.grader import Grader


class Half(RoutingMethod[int]):
    """Estimates one half, whatever the prompt and the LLM."""

    title = "One half"

    def fit(self, trial):
        pass

    def represent(self, calibration):
        return calibration.error.shape[1]

    def estimate_error(self, embedding, features):
        return torch.full((len(embedding), features), 0.5)


class PipeReader(OutcomesReader):
    """Lines of prompt id and answer with a bar between."""

    name = "pipes"
    form = "lines of prompt id and answer with a bar between"

    def recognizes(self, sample):
        return sample.path.read_text().startswith("pipes\\n")

    def read(self, path, pick):
        for number, line in enumerate(path.read_text().splitlines()[1:], start=2):
            prompt_id, answer = line.split("|")
            yield OutcomeRow(place=f"{path}, line {number}", prompt_ids=(prompt_id,), answer=answer)


class LengthGrader(Grader):
    """1 for an answer that is as long as the reference."""

    name = "length"

    def grade(self, prompt, answer, reference):
        return float(len(answer) == len(reference))
'''
ENTRY_POINTS = """[unirouter_torch.methods]
half = strangers_package:Half
[unirouter_torch.readers]
pipes = strangers_package:PipeReader
[unirouter_torch.graders]
length = strangers_package:LengthGrader
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed the package, from a wheel."""
    place = tmp_path_factory.mktemp("strangers_package")
    name = "strangers_package-1.0"
    files = {
        "strangers_package.py": MODULE,
        f"{name}.dist-info/METADATA": "Metadata-Version: 2.1\nName: strangers-package\nVersion: 1.0\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}.dist-info/entry_points.txt": ENTRY_POINTS,
    }
    record = f"{name}.dist-info/RECORD"
    files[record] = "".join(f"{file},,\n" for file in [*files, record])
    with zipfile.ZipFile(place / f"{name}-py3-none-any.whl", "w") as wheel:
        for file, content in files.items():
            wheel.writestr(file, content)
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(place / "site")]
    subprocess.run([sys.executable, *install, str(place / f"{name}-py3-none-any.whl")], check=True, timeout=600)
    return place / "site"


@pytest.fixture(autouse=True)
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()


def test_its_method_is_compared_by_the_name_of_its_entry_point(workshop: Path, tmp_path: Path) -> None:
    methods = ("--evaluation.methods", "[half, zero, end_to_end]", "--output_dir", str(tmp_path))
    assert main(["evaluate", "--trials", "1", "--workers", "1", *miniature(workshop, *methods)]) == 0
    assert "One half" in (tmp_path / "results.md").read_text()
    assert set(json.loads((tmp_path / "results.json").read_text())["methods"]) == {"half", "zero", "end_to_end"}


def test_its_reader_recognizes_its_files_and_its_grader_grades_them(tmp_path: Path) -> None:
    small_router(tmp_path).save_pretrained(tmp_path / "router")
    (tmp_path / "answers").write_text("pipes\np0|four\np1|three\np2|sixty\n")
    (tmp_path / "references.csv").write_text("prompt_id,reference\n" + "".join(f"{one},lang\n" for one in PROMPTS))
    options = ["--scores", str(tmp_path / "answers"), "--references", str(tmp_path / "references.csv")]
    more = ["--grader", "length", "--cost", "0.1", "--router", str(tmp_path / "router")]
    assert main(["pool", "add", "stranger", *options, *more]) == 0
    sums = Router.from_pretrained(tmp_path / "router").pool["stranger"].sums
    assert sums.error.sum().item() == pytest.approx(2.0) and sums.weight.sum().item() == pytest.approx(3.0)
