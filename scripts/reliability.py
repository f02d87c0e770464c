"""Attack a saved router and its server for a bounded time, and count what survives: ``make reliability``.

    python scripts/reliability.py --mutations 200 --requests 200 --kills 10

Every attack ends in one of three ways: it is refused with one line, it does no harm, or it is a failure. The exit code
is 1 where there is a failure.
"""

import argparse
import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx2
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from unirouter_torch import Router
from unirouter_torch.errors import ArtifactError

PROMPTS = {f"p{number}": f"What is {number} + {number}?" for number in range(8)}
SAVE = (
    "import sys; from unirouter_torch import Router; router = Router.from_pretrained(sys.argv[1]); print(flush=True)\n"
    "while True: router.save_pretrained(sys.argv[1])"
)
ODD = (
    "NaN",
    "-1",
    "1e999",
    "null",
    "true",
    '""',
    "[]",
    "{}",
    "9" * 5000,
    "[" * 50_000,
    '"\\ud83d"',
    '"' + "m" * 10**6 + '"',
)


def write_router(folder: Path) -> None:
    """A router with two LLMs in a folder."""
    router = Router.from_pretrained("unirouter-static")
    scores = {"small": dict.fromkeys(PROMPTS, 0.5), "large": dict.fromkeys(PROMPTS, 1.0)}
    router.calibrate(PROMPTS, scores, {"small": 0.1, "large": 1.0})
    router.save_pretrained(folder)


def mutate(folder: Path, chance: random.Random) -> str:
    """Change one file at random, most of the time with its checksum made anew; returns the kind of change."""
    file = chance.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    kind = chance.choice(("bits", "cut", "missing", "values"))
    content = file.read_bytes()
    if kind == "missing":
        file.unlink()
        return kind
    if kind == "values" and file.suffix == ".json":
        text = content.decode()
        spot = chance.choice(list(re.finditer(r"(?<=: )[^\n{\[]+?(?=,?\n)|\{|\[", text)))
        content = (text[: spot.start()] + chance.choice(ODD) + text[spot.end() :]).encode()
        file.write_bytes(content)
    elif kind == "values" and file.suffix == ".safetensors":
        tensors = load_file(file)
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata()
        name = chance.choice(sorted(tensors))
        tensors[name] = chance.choice(
            (
                tensors[name].float() * torch.nan,
                tensors[name][:0] if tensors[name].dim() else tensors[name][None],
                -tensors[name].float() - 1,
            )
        )
        save_file(tensors, file, metadata=metadata)
    elif kind == "cut":
        file.write_bytes(content[: chance.randrange(len(content) + 1)])
    elif content:
        changed = bytearray(content)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
    manifest = folder / "manifest.json"
    if file != manifest and chance.random() < 0.8:
        found = json.loads(manifest.read_text())
        found["sha256"][file.relative_to(folder).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
        manifest.write_text(json.dumps(found))
    return kind


def attack_artifacts(folder: Path, times: int, chance: random.Random) -> Counter[str]:
    """Load mutated copies of a router."""
    found: Counter[str] = Counter()
    for _ in range(times):
        with tempfile.TemporaryDirectory() as place:
            copy = Path(place) / "router"
            shutil.copytree(folder, copy)
            kind = mutate(copy, chance)
            try:
                Router.from_pretrained(copy).route(["What is 17 + 25?"], 0.1)
                found["harmless"] += 1
            except ArtifactError as error:
                found["refused" if "\n" not in str(error) else "failed"] += 1
            except Exception as error:
                print(f"{kind}: {type(error).__name__}: {error}", file=sys.stderr)
                found["failed"] += 1
    return found


def attack_by_kills(folder: Path, times: int, chance: random.Random) -> Counter[str]:
    """Kill a process that saves over a router at random moments, and load what is there."""
    found: Counter[str] = Counter()
    for _ in range(times):
        with subprocess.Popen([sys.executable, "-c", SAVE, str(folder)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0, 1))
            process.kill()
        try:
            Router.from_pretrained(folder)
            found["harmless"] += 1
        except ArtifactError as error:
            print(f"kill: {error}", file=sys.stderr)
            found["failed"] += 1
    return found


def attack_server(folder: Path, times: int, chance: random.Random) -> Counter[str]:
    """Send malformed requests to a server, and ask after each whether it is well."""
    found: Counter[str] = Counter()
    command = [sys.executable, "-m", "unirouter_torch.cli", "serve", "--router", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        address = re.search(r"http://\S+(?=;)", process.stdout.readline())
        assert address is not None
        with httpx2.Client(base_url=address[0], trust_env=False, timeout=120) as http:
            for _ in range(times):
                field = chance.choice(("prompts", "cost_weight", "llms", "caution", "more"))
                body = f'{{"prompts": ["a"], "{field}": {chance.choice(ODD)}}}'.encode()
                body = body if chance.random() < 0.7 else bytes(chance.randrange(256) for _ in range(40))
                answer = http.post("/v1/route", content=body, headers={"content-type": "application/json"})
                is_well = http.get("/health").status_code == 200 and answer.status_code < 500
                is_told = answer.status_code == 200 or len(answer.json()["error"]["message"]) <= 1000
                kind = "harmless" if answer.status_code == 200 else "refused"
                found[kind if is_well and is_told else "failed"] += 1
        process.terminate()
    return found


def main() -> None:
    """Run the attacks and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=200, help="mutated artifacts")
    parser.add_argument("--requests", type=int, default=200, help="malformed requests")
    parser.add_argument("--kills", type=int, default=10, help="kills while a router is saved")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "router"
        write_router(folder)
        attacks = {
            "mutations of an artifact": attack_artifacts(folder, options.mutations, chance),
            "malformed requests": attack_server(folder, options.requests, chance),
            "kills while a router is saved": attack_by_kills(folder, options.kills, chance),
        }
    print("| attack | times | refused in one line | harmless | failed |\n|---|---|---|---|---|")
    for name, found in attacks.items():
        print(f"| {name} | {found.total()} | {found['refused']} | {found['harmless']} | {found['failed']} |")
    sys.exit(any(found["failed"] for found in attacks.values()))


if __name__ == "__main__":
    main()
