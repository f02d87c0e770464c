"""Attack a saved router and its server for a bounded time, and count what survives: ``make reliability``.

    python scripts/reliability.py --mutations 200 --requests 200 --kills 10

Every attack ends in one of three ways: it is refused with one line, it does no harm, or it is a failure. Loads follow,
each on a server of its own while another client asks for routes. The exit code is 1 where there is a failure, or where
that client was refused or waited long. No attack and no load takes longer than a minute and a half, whatever is asked.
"""

import argparse
import hashlib
import json
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx2
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from unirouter_torch import Router
from unirouter_torch.errors import ArtifactError

ATTACK_SECONDS = LOAD_SECONDS = 80
LEAST_WAITS = 20
MOST_SECONDS = 5.0
"""Longest wait of another client that counts as none of a failure, on a machine that does other things too."""
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


def attack_artifacts(folder: Path, times: int, chance: random.Random, until: float) -> Counter[str]:
    """Load mutated copies of a router."""
    found: Counter[str] = Counter()
    for _ in range(times):
        if time.monotonic() > until:
            break
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


def attack_by_kills(folder: Path, times: int, chance: random.Random, until: float) -> Counter[str]:
    """Kill a process that saves over a router at random moments, and load what is there."""
    found: Counter[str] = Counter()
    for _ in range(times):
        if time.monotonic() > until:
            break
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


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[str, int]]:
    """A server of a router in a process of its own: its address, and the number of the process."""
    command = [sys.executable, "-m", "unirouter_torch.cli", "serve", "--router", str(folder), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        address = re.search(r"http://\S+(?=;)", process.stdout.readline())
        assert address is not None
        try:
            yield address[0], process.pid
        finally:
            process.terminate()


def attack_server(folder: Path, times: int, chance: random.Random, until: float) -> Counter[str]:
    """Send malformed requests to a server, and ask after each whether it is well."""
    found: Counter[str] = Counter()
    with served(folder) as (address, _), httpx2.Client(base_url=address, trust_env=False, timeout=120) as http:
        for _ in range(times):
            if time.monotonic() > until:
                break
            field = chance.choice(("prompts", "cost_weight", "llms", "caution", "more"))
            body = f'{{"prompts": ["a"], "{field}": {chance.choice(ODD)}}}'.encode()
            body = body if chance.random() < 0.7 else bytes(chance.randrange(256) for _ in range(40))
            answer = http.post("/v1/route", content=body, headers={"content-type": "application/json"})
            is_well = http.get("/health").status_code == 200 and answer.status_code < 500
            is_told = answer.status_code == 200 or len(answer.json()["error"]["message"]) <= 1000
            kind = "harmless" if answer.status_code == 200 else "refused"
            found[kind if is_well and is_told else "failed"] += 1
    return found


class Load(NamedTuple):
    """What a load did to a server.

    Attributes:
        what: The load.
        memory: Resident memory of the server before it, and at most meanwhile [bytes].
        waits: Seconds that each request of another client took meanwhile.
        answers: How often each status code was answered to that client.
        outcome: What became of the load itself.
    """

    what: str
    memory: tuple[int, int]
    waits: list[float]
    answers: Counter[int]
    outcome: str


def memory_of(process: int, name: str = "VmRSS") -> int:
    """Resident memory of a process now, or the most that it ever was (``VmHWM``) [bytes]."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


def under_load(folder: Path, what: str, load: Callable[[str], str]) -> Load:
    """Put a load on a server of its own, and route one prompt again and again as another client meanwhile."""
    waits: list[float] = []
    answers: Counter[int] = Counter()
    with served(folder) as (address, process), httpx2.Client(base_url=address, trust_env=False, timeout=120) as http:
        http.post("/v1/route", json={"prompts": ["What is 17 + 25?"]})
        before = memory_of(process)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(load, address)
            while not running.done() or len(waits) < LEAST_WAITS:
                start = time.monotonic()
                answers[http.post("/v1/route", json={"prompts": ["What is 17 + 25?"]}).status_code] += 1
                waits.append(time.monotonic() - start)
                time.sleep(0.02)
        return Load(what, (before, memory_of(process, "VmHWM")), waits, answers, running.result())


def send_prompts(characters: int, address: str) -> str:
    """One request with as many prompts as are allowed, each of so many characters, from an address of its own."""
    text = "tell me of otters " * (characters // 18)
    prompts = [f"{number} {text}" for number in range(1024)]
    transport = httpx2.HTTPTransport(local_address="127.0.0.2")
    with httpx2.Client(trust_env=False, timeout=LOAD_SECONDS, transport=transport) as http:
        try:
            return f"answered with {http.post(f'{address}/v1/route', json={'prompts': prompts}).status_code}"
        except httpx2.TimeoutException:
            return f"given up after {LOAD_SECONDS} s"


def send_halves(address: str) -> str:
    """A thousand requests of which only the beginning is sent, held open until the server ends them."""
    host, port = re.findall(r"//(.+):(\d+)", address)[0]
    connections = []
    for _ in range(1000):
        connections.append(socket.create_connection((host, int(port)), timeout=LOAD_SECONDS))
        connections[-1].sendall(b"POST /v1/route HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n")
    ended, until = 0, time.monotonic() + LOAD_SECONDS
    for connection in connections:
        connection.settimeout(max(0.01, until - time.monotonic()))
        try:
            while connection.recv(4096):
                pass
            ended += 1
        except ConnectionError:
            ended += 1
        except TimeoutError:
            pass
        connection.close()
    return f"{ended} of {len(connections)} ended by the server"


def print_loads(loads: Sequence[Load]) -> None:
    """A table of what loads did, in Markdown."""
    print("\n| load | what became of it | memory before | at most | another client: requests | longest wait | failed |")
    print("|---|---|---|---|---|---|---|")
    for load in loads:
        failed = load.answers.total() - load.answers[200]
        memory = " | ".join(f"{size / 2**20:,.0f} MiB" for size in load.memory)
        waits = f"{len(load.waits):,} | {max(load.waits):.2f} s"
        print(f"| {load.what} | {load.outcome} | {memory} | {waits} | {failed} |")


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
            name: attack(folder, times, chance, time.monotonic() + ATTACK_SECONDS)
            for name, attack, times in (
                ("mutations of an artifact", attack_artifacts, options.mutations),
                ("malformed requests", attack_server, options.requests),
                ("kills while a router is saved", attack_by_kills, options.kills),
            )
        }
        loads = [
            under_load(folder, "one request, 1,024 prompts of 110,000 characters", partial(send_prompts, 110_000)),
            under_load(folder, "one request, 1,024 prompts of 15,000 characters", partial(send_prompts, 15_000)),
            under_load(folder, "1,000 half-sent requests", send_halves),
        ]
    print("| attack | times | refused in one line | harmless | failed |\n|---|---|---|---|---|")
    for name, found in attacks.items():
        print(f"| {name} | {found.total()} | {found['refused']} | {found['harmless']} | {found['failed']} |")
    print_loads(loads)
    is_bad = [load.answers.total() > load.answers[200] or max(load.waits) > MOST_SECONDS for load in loads]
    sys.exit(any(is_bad) or any(found["failed"] for found in attacks.values()))


if __name__ == "__main__":
    main()
