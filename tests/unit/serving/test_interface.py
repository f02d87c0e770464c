"""The OpenAPI document says what the endpoints answer: their statuses, and the form of each answer."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from misbehaving_endpoint import endpoint_on_loopback
from served_router import Served, saved_router, served, write_upstreams

KEY = "sesame"
CHAT = {"model": "unirouter", "messages": [{"role": "user", "content": "the otter sings"}]}
OUTCOME = {"llm": "small", "prompt": "the clock", "score": 1.0}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that allows all that there is."""
    folder = tmp_path_factory.mktemp("interface")
    with endpoint_on_loopback() as endpoint:
        file = write_upstreams(folder / "upstreams.yaml", dict.fromkeys(("small", "large"), endpoint.url))
        allowed = {"change_key": KEY, "accept_feedback": True, "embeddings": True}
        with served(saved_router(folder), file, **allowed) as found:
            yield found


@pytest.fixture(scope="module")
def document(server: Served) -> dict[str, Any]:
    found: dict[str, Any] = server.http.get("/openapi.json").json()
    return found


def test_every_answer_of_ours_has_a_form_and_every_error_is_told(document: dict[str, Any]) -> None:
    operations = {f"{method} {path}": one for path, its in document["paths"].items() for method, one in its.items()}
    assert len(operations) == 18
    for name, operation in operations.items():
        answers = operation["responses"]
        assert "description" in operation, name
        if "completions" not in name and "responses" not in name and "metrics" not in name:
            schema = answers["200"]["content"]["application/json"]["schema"]
            assert "$ref" in schema or schema["type"] in ("array", "object"), name
            assert "422" not in answers, name
        for status in answers:
            if status.isdigit() and status != "200":
                reference = answers[status]["content"]["application/json"]["schema"]["$ref"]
                assert reference == "#/components/schemas/ErrorReply", (name, status)
        if "requestBody" in operation:
            assert {"400", "408", "413", "503"} <= set(answers), name


@pytest.mark.parametrize(
    ("method", "path", "template", "body", "status"),
    [
        ("GET", "/health", "/health", None, 200),
        ("POST", "/v1/route", "/v1/route", {"prompts": ["the otter", CHAT["messages"]]}, 200),
        ("POST", "/v1/route", "/v1/route", {"prompts": []}, 400),
        ("POST", "/v1/chat/completions", "/v1/chat/completions", CHAT, 200),
        ("POST", "/v1/chat/completions", "/v1/chat/completions", CHAT | {"model": "nobody"}, 404),
        ("POST", "/v1/responses", "/v1/responses", {"model": "unirouter"}, 400),
        ("GET", "/v1/models", "/v1/models", None, 200),
        ("GET", "/v1/models/small", "/v1/models/{name}", None, 200),
        ("GET", "/v1/models/unirouter", "/v1/models/{name}", None, 200),
        ("GET", "/v1/models/nobody", "/v1/models/{name}", None, 404),
        ("POST", "/v1/explain", "/v1/explain", {"prompts": ["the otter", CHAT["messages"]]}, 200),
        ("POST", "/v1/feedback", "/v1/feedback", {"outcomes": [OUTCOME]}, 200),
        ("POST", "/v1/feedback", "/v1/feedback", {"outcomes": [OUTCOME | {"score": 2}]}, 400),
        ("POST", "/v1/embeddings", "/v1/embeddings", {"model": "unirouter", "input": "the otter"}, 200),
        ("GET", "/v1/pool", "/v1/pool", None, 200),
        ("GET", "/v1/pool/profile?llm=small", "/v1/pool/profile", None, 200),
        ("GET", "/v1/pool/profile?llm=nobody", "/v1/pool/profile", None, 400),
        ("GET", "/v1/pool/profile", "/v1/pool/profile", None, 400),
        ("GET", "/v1/pool/history", "/v1/pool/history", None, 200),
        ("POST", "/v1/pool", "/v1/pool", {"action": "disable", "llm": "other"}, 200),
        ("POST", "/v1/pool", "/v1/pool", {"action": "reprice"}, 400),
        ("GET", "/v1/curve", "/v1/curve", None, 200),
        ("GET", "/v1/traffic", "/v1/traffic", None, 200),
        ("GET", "/v1/router", "/v1/router", None, 200),
        ("POST", "/v1/router", "/v1/router", {"back": True}, 400),
    ],
)
def test_answer_has_the_documented_form(
    server: Served, document: dict[str, Any], method: str, path: str, template: str, body: Any, status: int
) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    response = server.http.request(method, path, json=body, headers=headers)
    assert response.status_code == status, response.text
    answers = document["paths"][template][method.lower()]["responses"]
    schema = answers[str(status)]["content"]["application/json"]["schema"]
    jsonschema.validate(response.json(), schema | {"components": document["components"]})


def test_change_without_the_key_is_refused_as_documented(server: Served, document: dict[str, Any]) -> None:
    for path in ("/v1/pool", "/v1/router"):
        assert server.http.post(path, json={"action": "undo"} if path == "/v1/pool" else {}).status_code == 403
        assert "403" in document["paths"][path]["post"]["responses"]


def test_another_method_is_told_all_that_there_are(server: Served) -> None:
    for path, methods in (("/v1/pool", "GET, POST"), ("/v1/route", "POST"), ("/health", "GET, HEAD")):
        response = server.http.put(path)
        assert (response.status_code, response.headers["allow"]) == (405, methods)
