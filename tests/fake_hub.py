"""The calls of the Hugging Face hub that a push and a download of one model need, on this machine."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_invented"
API = r"/api/(?:models|datasets)/(someone/(?:router|table)|withmartian/routerbench)"
FILE = r"/someone/router/|/datasets/someone/table/|/datasets/withmartian/routerbench/"


class FakeHub(BaseHTTPRequestHandler):
    """One repository in memory, of a router or of a table; who writes needs the token."""

    files: dict[str, bytes]
    commits: list[dict]
    created: list[dict]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "this token may not write"}, 401)
        elif self.path == "/api/repos/create":
            self.created.append(json.loads(body))
            self._json({"url": f"http://{self.headers['Host']}/someone/router"})
        elif "/preupload/" in self.path:
            files = [{"path": file["path"]} for file in json.loads(body)["files"]]
            self._json({"files": [file | {"uploadMode": "regular", "shouldIgnore": False} for file in files]})
        else:
            self._commit([json.loads(line) for line in body.splitlines()])

    def do_HEAD(self) -> None:
        self._file(with_content=False)

    def do_GET(self) -> None:
        if asked := re.match(f"{API}/revision/", self.path):
            siblings = [{"rfilename": name} for name in self.files]
            self._json({"id": asked[1], "sha": self._sha(), "siblings": siblings, "tags": [], "private": True})
        elif re.match(f"{API}/tree/", self.path):
            sizes = {name: len(content) for name, content in self.files.items()}
            self._json([{"type": "file", "path": name, "size": size, "oid": "0"} for name, size in sizes.items()])
        else:
            self._file(with_content=True)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _commit(self, lines: list[dict]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del self.files[value["path"]]
            else:
                self.commits.append(value)
        address = f"http://{self.headers['Host']}/someone/router/commit/{self._sha()}"
        self._json({"commitUrl": address, "commitOid": self._sha()})

    def _sha(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()

    def _file(self, *, with_content: bool) -> None:
        content = self.files.get(self.path.partition("/resolve/")[2].partition("/")[2].partition("?")[0])
        is_here = re.match(FILE, self.path)
        if not is_here or content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if is_here else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self._sha())
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def _json(self, content: object, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def fake_hub() -> Iterator[tuple[str, type[FakeHub]]]:
    """A hub that answers while the block lasts: its address, and what it holds."""
    kind = type("OneHub", (FakeHub,), {"files": {}, "commits": [], "created": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", kind
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
