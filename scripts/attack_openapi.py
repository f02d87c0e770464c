"""Examples that schemathesis makes of a server's OpenAPI document: no 5xx and no status that is not documented.

    python scripts/attack_openapi.py --examples 5000

All that a server can be asked to do is allowed, and chats go to an upstream on loopback. The exit code is 1 where a
check fails; schemathesis then says how to send the request again.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import yaml
from load_server import upstream
from reliability import served, write_router

from unirouter_torch import Router
from unirouter_torch.cli.output import guarded

KEY = "made-up-key"
# not its check that data which fits the document is accepted: a document cannot say which LLMs there are
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)


def attack(address: str, examples: int, seconds: float) -> tuple[int, bool]:
    """Send examples to all operations while there is time; how many were sent, and whether they passed all checks."""
    paths = httpx2.get(f"{address}/openapi.json", trust_env=False, timeout=120).json()["paths"].values()
    takes_any = sum(bool({"requestBody", "parameters"} & one.keys()) for path in paths for one in path.values())
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{address}/openapi.json", "--no-color"]
    command += ["--checks", ",".join(CHECKS), "--max-examples", str(examples // takes_any + 1)]
    command += ["--phases", "coverage,fuzzing", "--header", f"Authorization: Bearer {KEY}", "--warnings", "off"]
    command += ["--continue-on-failure", "--suppress-health-check", "all"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            told, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # then it tells how far it came
            told, _ = process.communicate()
    generated = re.search(r"^ *([\d,]+) generated", told, re.MULTILINE)
    is_fine = generated is not None and "unique failure" not in told
    if not is_fine:
        print(told)
    return int(generated[1].replace(",", "")) if generated else 0, is_fine


def run(options: argparse.Namespace) -> None:
    """Attack a server, and say how it went."""
    with upstream() as url, tempfile.TemporaryDirectory() as place:
        folder, file = Path(place) / "router", Path(place) / "upstreams.yaml"
        write_router(folder)
        llms = Router.from_pretrained(folder).pool.names
        file.write_text(yaml.safe_dump({llm: {"base_url": url} for llm in llms}))
        os.environ["ATTACK_KEY"] = KEY
        allowed = ("--allow-changes", "ATTACK_KEY", "--accept-feedback", "--embeddings", "--upstreams", str(file))
        begin = time.monotonic()
        with served(folder, *allowed) as (address, _):
            sent, is_fine = attack(address, options.examples, options.seconds)
    told = "all checks passed" if is_fine else "failed; see above"
    print(f"{sent} examples of schemathesis in {time.monotonic() - begin:.0f} seconds: {told}")
    if not is_fine or sent < options.examples:
        sys.exit(1)


def main() -> int:
    """Parse and attack; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "default: %(default)s"
    parser.add_argument("--examples", type=int, default=5000, metavar="N", help=f"at least so many; {default}")
    parser.add_argument("--seconds", type=float, default=900, metavar="S", help=f"at most about so long; {default}")
    return guarded(lambda: run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
