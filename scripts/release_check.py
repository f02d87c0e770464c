"""Install a wheel in bare environments, as a user would, and run what the README promises from there.

python scripts/release_check.py dist/unirouter_torch-0.1.0-py3-none-any.whl --pythons python3.11 python3.12 python3.13

Every interpreter gets an environment without extras, one with ``train,eval`` and one with all that users need. It ends
with a table of what ran, how long it took, and which interpreters are not here. Needs the standard library alone.
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("", "train,eval", "train,eval,calibrate,onnx,serve")
QUICKSTART = (
    ("train", "--config", "quickstart", "--output_dir", "run"),
    ("route", "--router", "run/router", "What is 17 + 25?"),
)


class Checked(NamedTuple):
    """One environment.

    Attributes:
        python: Version of the interpreter, or its name where it is not here.
        extras: Extras of the package.
        install: How long the installation took [seconds].
        size: Size of the environment [MB].
        quickstart: How long training and routing took [seconds]; None without the extras for it.
        outcome: ``passed``, or what failed.
    """

    python: str
    extras: str
    install: float
    size: float
    quickstart: float | None
    outcome: str


def version_of(python: str) -> str | None:
    """Version of an interpreter; None where it is not found or does not start."""
    found = shutil.which(python)
    if found is None:
        return None
    said = subprocess.run([found, "-c", "import platform; print(platform.python_version())"], capture_output=True)
    return said.stdout.decode().strip() if said.returncode == 0 else None


def readme_program() -> tuple[str, str]:
    """The first program of the README and what it prints."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n(.*?)^```\n+```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1], found[2]


def check(wheel: Path, python: str, version: str, extras: str, folder: Path) -> Checked:
    """Install the wheel with some extras into a fresh environment, and run it from an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = folder / "env"
    scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")

    def run(*command: str | Path) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(words[:4])[:200]}: ended with {done.returncode}\n{done.stdout[-2000:]}")
        return done.stdout

    started, took, quickstart, outcome = time.perf_counter(), 0.0, None, "passed"
    try:
        run(python, "-m", "venv", environment)
        wanted = f"unirouter_torch{f'[{extras}]' if extras else ''} @ {wheel.resolve().as_uri()}"
        run(scripts / "python", "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wanted)
        took = time.perf_counter() - started
        program, printed = readme_program()
        for command in ("--version", "recipes", "doctor"):
            run(scripts / "unirouter", command)
        if run(scripts / "python", "-c", program) != printed:
            raise SystemExit("the program of the README prints something else than is shown there")
        if "train" in extras:
            started = time.perf_counter()
            for arguments in QUICKSTART:
                run(scripts / "unirouter", *arguments)
            quickstart = time.perf_counter() - started
    except SystemExit as failed:
        outcome = str(failed)
    size = sum(file.stat().st_size for file in environment.rglob("*") if file.is_file()) / 1e6
    return Checked(version, extras or "none", took, size, quickstart, outcome)


def main() -> None:
    """Check every interpreter with all sets of extras."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="the wheel to install")
    parser.add_argument("--pythons", nargs="+", default=["python3"], help="interpreters, as they are called")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bare", help="where environments are made")
    options = parser.parse_args()
    found: list[Checked] = []
    absent: list[str] = []
    for python in options.pythons:
        version = version_of(python)
        if version is None:
            absent.append(python)
            continue
        for extras in EXTRAS:
            found.append(check(options.wheel, python, version, extras, options.folder))
            print(f"{version}, extras {found[-1].extras}, {found[-1].install:.0f} s: {found[-1].outcome}", flush=True)
    print("\n| Python | extras | installation | MB | quickstart and route | outcome |\n|---|---|---|---|---|---|")
    for one in found:
        quickstart = "no" if one.quickstart is None else f"{one.quickstart:.0f} s"
        outcome = one.outcome.splitlines()[0]
        print(f"| {one.python} | {one.extras} | {one.install:.0f} s | {one.size:.0f} | {quickstart} | {outcome} |")
    for python in absent:
        print(f"| {python} | | | | | not checked: not found, or does not start |")
    shutil.rmtree(options.folder, ignore_errors=True)
    if not found or any(one.outcome != "passed" for one in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
