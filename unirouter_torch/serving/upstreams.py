"""Where each LLM is asked: a YAML file without keys."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import yaml

from unirouter_torch.config.checks import positive
from unirouter_torch.errors import ConfigError

_FIELDS = ("base_url", "model", "extra", "api_key_env", "timeout")
_OF_THE_CLIENT = ("model", "messages", "stream", "stream_options")


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """Where one LLM is asked.

    Attributes:
        base_url: Address of an OpenAI-compatible API, for example ``http://127.0.0.1:8001/v1``.
        model: Name of the LLM there.
        extra: Fields of each request that make it this LLM, such as a reasoning effort or a limit of tokens.
        api_key: Its key; empty where none is sent.
        timeout: Longest silence, before the first byte and between two [seconds], positive.
    """

    base_url: str
    model: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    api_key: str = field(default="", repr=False)
    timeout: float = 600.0


def read_upstreams(path: Path) -> dict[str, Upstream]:
    """Read where LLMs are asked.

    Args:
        path: YAML file that maps the name of an LLM to ``base_url`` and, where wanted, ``model`` (its name there; the
            LLM's own by default), ``extra`` (fields of each request), ``api_key_env`` (the environment variable that
            holds its key) and ``timeout`` [seconds].

    Raises:
        ConfigError: The file is missing or no such mapping, a field is unknown or out of range, or an environment
            variable is not set.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; expected YAML that maps each LLM to its base_url.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{path}: expected a mapping from each LLM to its base_url, found {type(content).__name__}.")
    return {str(llm): _read_upstream(f"{path}: {llm}", str(llm), its) for llm, its in content.items()}


def _read_upstream(place: str, llm: str, its: object) -> Upstream:
    if not isinstance(its, dict):
        raise ConfigError(f"{place}: got {its!r}, expected a mapping with base_url.")
    unknown = [name for name in its if name not in _FIELDS]
    if unknown:
        raise ConfigError(
            f"{place}: unknown field {unknown[0]!r}; expected {', '.join(_FIELDS)}. Keys have no place here."
        )
    base_url = _text(place, its, "base_url", "")
    if not _is_address(base_url):
        raise ConfigError(f"{place}.base_url: got {base_url!r}, expected an address such as http://127.0.0.1:8001/v1.")
    timeout = its.get("timeout", 600.0)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise ConfigError(f"{place}.timeout: got {timeout!r}, expected seconds.")
    positive(f"{place}.timeout", timeout)
    variable = _text(place, its, "api_key_env", "")
    return Upstream(
        base_url=base_url.rstrip("/"),
        model=_text(place, its, "model", llm),
        extra=_extra(place, its.get("extra", {})),
        api_key=key_in(variable, f"{place}.api_key_env") if variable else "",
        timeout=float(timeout),
    )


def _is_address(text: str) -> bool:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host) and not (url.userinfo or url.query or url.fragment)


def _extra(place: str, extra: object) -> dict[str, Any]:
    if not isinstance(extra, dict) or not all(isinstance(name, str) for name in extra):
        raise ConfigError(f"{place}.extra: got {extra!r}, expected a mapping of fields, such as reasoning_effort: low.")
    taken = [name for name in extra if name in _OF_THE_CLIENT]
    if taken:
        raise ConfigError(f"{place}.extra: got the field {taken[0]!r}, which is the request's own. Leave it out.")
    try:
        json.dumps(extra, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{place}.extra: no JSON ({error}). Use numbers, text, lists and mappings.") from None
    return extra


def _text(place: str, its: Mapping[Any, Any], name: str, default: str) -> str:
    value = its.get(name, default)
    if not isinstance(value, str):
        raise ConfigError(f"{place}.{name}: got {value!r}, expected text.")
    return value


def key_in(variable: str, place: str) -> str:
    """The key in an environment variable.

    Args:
        variable: Its name.
        place: Where that name was given, for the message.

    Raises:
        ConfigError: It is not set, or cannot stand in a header.
    """
    key = os.environ.get(variable, "")
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"{place}: the environment variable {variable!r} holds no key. Set it for the server.")
    return key
