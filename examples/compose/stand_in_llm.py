"""An OpenAI-compatible endpoint that says what it was asked: it stands in for an LLM, with nothing but Python.

python examples/compose/stand_in_llm.py PORT
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class StandIn(BaseHTTPRequestHandler):
    """Answers chat completions, whole or as a stream of one piece."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = f"{asked['model']} heard: {asked['messages'][-1]['content']}"
        facts = {"id": "stand-in", "created": 0, "model": asked["model"]}
        if asked.get("stream"):
            choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            chunk = facts | {"object": "chat.completion.chunk", "choices": [choice]}
            self._answer("text/event-stream", f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            whole = facts | {"object": "chat.completion", "choices": [choice], "usage": usage}
            self._answer("application/json", json.dumps(whole))

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, kind: str, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())


if __name__ == "__main__":
    server = ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), StandIn)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
