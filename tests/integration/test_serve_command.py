"""The real command: it says where it listens, serves, ends by a signal, and names mistakes."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest
from misbehaving_endpoint import endpoint_on_loopback
from served_router import saved_router, serve_process, write_upstreams

from unirouter_torch.cli import main


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_request_that_runs_is_answered_before_the_server_ends(
    tmp_path: Path, ending: signal.Signals, code: int
) -> None:
    answers: list[httpx2.Response] = []
    with endpoint_on_loopback() as endpoint:
        endpoint.hold.clear()
        upstreams = write_upstreams(tmp_path / "u.yaml", {"large": endpoint.url})
        arguments = ("--router", str(saved_router(tmp_path)), "--upstreams", str(upstreams))
        with serve_process(*arguments) as (process, address):
            body = {"model": "unirouter", "messages": [{"role": "user", "content": "the otter"}]}

            def ask() -> None:
                answers.append(httpx2.post(f"{address}/v1/chat/completions", json=body, timeout=60, trust_env=False))

            asking = threading.Thread(target=ask)
            asking.start()
            while not endpoint.requests:
                assert asking.is_alive()
            process.send_signal(ending)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            endpoint.hold.set()
            asking.join()
            assert process.wait(30) == code
            assert process.stderr is not None
            said = process.stderr.read()
    assert [answer.status_code for answer in answers] == [200]
    assert "Traceback" not in said and "running requests had up to 30 seconds" in said


def test_mistakes_end_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(saved_router(tmp_path))
    monkeypatch.delenv("NOT_SET_AT_ALL", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, what in (
            (("--port", port), f"cannot listen on 127.0.0.1:{port} (Address already in use)"),
            (("--port", "70000"), "--port: got 70000"),
            (("--host", "nowhere.invalid"), "cannot listen on nowhere.invalid:8080"),
            (("--fallbacks", "-1"), "--fallbacks: got -1"),
            (("--cost-weight", "nan"), "--cost-weight: expected a finite number of at least 0, got nan"),
            (("--latency-weight", "1"), "latency of 'small': not known"),
            (("--upstreams", str(tmp_path / "none.yaml")), "no such file"),
            (("--api-key-env", "NOT_SET_AT_ALL"), "'NOT_SET_AT_ALL' holds no key"),
        ):
            assert main(["serve", "--router", folder, *arguments]) == 2
            said = " ".join(capsys.readouterr().err.split())
            assert what in said, said


def test_command_without_its_packages_says_what_to_install(tmp_path: Path) -> None:
    program = """
import sys

sys.modules["uvicorn"] = None
from unirouter_torch.cli import main

sys.exit(main(["serve", "--router", sys.argv[1]]))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert result.returncode == 2
    assert "uvicorn is not installed" in result.stderr and "unirouter_torch[serve]" in result.stderr
