from pathlib import Path

import pytest

from unirouter_torch.errors import ConfigError
from unirouter_torch.serving.upstreams import Upstream, read_upstreams


def read(folder: Path, text: str) -> dict[str, Upstream]:
    (folder / "upstreams.yaml").write_text(text)
    return read_upstreams(folder / "upstreams.yaml")


def test_all_fields_are_read_and_the_key_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MADE_UP_KEY", "sk-made-up")
    found = read(
        tmp_path,
        """
small: {base_url: "http://127.0.0.1:8001/v1/"}
large/one:
  base_url: https://llm.invalid/v1
  model: there
  api_key_env: MADE_UP_KEY
  timeout: 30
  extra: {reasoning_effort: low, max_completion_tokens: 500}
""",
    )
    assert found == {
        "small": Upstream(base_url="http://127.0.0.1:8001/v1", model="small"),
        "large/one": Upstream(
            base_url="https://llm.invalid/v1",
            model="there",
            extra={"reasoning_effort": "low", "max_completion_tokens": 500},
            api_key_env="MADE_UP_KEY",
            timeout=30.0,
        ),
    }
    assert [one.api_key for one in found.values()] == ["", "sk-made-up"] and "sk-made-up" not in repr(found)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "expected a mapping"),
        ("- small", "expected a mapping"),
        ("a: [", "no YAML"),
        ("small: http://127.0.0.1/v1", "expected a mapping with base_url"),
        ("small: {}", "base_url: expected an address such as .*, got ''"),
        ("small: {base_url: 127.0.0.1}", "expected an address"),
        ("small: {base_url: 'http://[::1/v1'}", "expected an address"),
        ("small: {base_url: 'http:///v1'}", "expected an address"),
        ("small: {base_url: 'ftp://127.0.0.1/v1'}", "expected an address"),
        ("small: {base_url: 'http://127.0.0.1/v1?key=1'}", "expected an address"),
        ("small: {base_url: 'http://me:word@127.0.0.1/v1'}", "expected an address"),
        ("small: {base_url: 'http://127.0.0.1/v1', model: 7}", "model: .* string, got 7"),
        ("small: {base_url: 'http://127.0.0.1/v1', extra: low}", "extra: .* dictionary, got 'low'"),
        (
            "small: {base_url: 'http://127.0.0.1/v1', extra: {model: x}}",
            "extra: the field 'model' is the",
        ),
        ("small: {base_url: 'http://127.0.0.1/v1', extra: {day: 2026-11-29}}", "extra: no JSON"),
        ("small: {base_url: 'http://127.0.0.1/v1', timeout: 0}", "timeout: .* greater than 0, got 0"),
        ("small: {base_url: 'http://127.0.0.1/v1', timeout: soon}", "timeout: .* number, got 'soon'"),
        ("small: {base_url: 'http://127.0.0.1/v1', api_key: sk-1}", "unknown field 'api_key'.*no place here"),
        ("small: {base_url: 'http://127.0.0.1/v1', api_key_env: NOT_SET_AT_ALL}", "'NOT_SET_AT_ALL' holds no key"),
    ],
)
def test_malformed_file_is_refused_with_its_place(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as found:
        read(tmp_path, text)
    assert str(tmp_path / "upstreams.yaml") in str(found.value)
    assert "sk-1" not in str(found.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_upstreams(tmp_path / "none.yaml")
