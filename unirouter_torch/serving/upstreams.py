"""Where each LLM is asked: a YAML file without keys."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import httpx2
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from unirouter_torch.errors import ConfigError, first_problem

_OF_THE_CLIENT = ("model", "messages", "stream", "stream_options")


def _check_address(text: str) -> str:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise ValueError("expected an address such as http://127.0.0.1:8001/v1")
    return text.rstrip("/")


def _check_extra(extra: dict[str, Any]) -> dict[str, Any]:
    taken = [name for name in extra if name in _OF_THE_CLIENT]
    if taken:
        raise ValueError(f"the field {taken[0]!r} is the request's own; leave it out")
    try:
        json.dumps(extra, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"no JSON ({error}); use numbers, text, lists and mappings") from None
    return extra


class Upstream(BaseModel):
    """Where one LLM is asked; keys are in the environment, never in the file."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_default=True)

    base_url: Annotated[str, AfterValidator(_check_address)] = ""
    """Address of an OpenAI-compatible API, for example ``http://127.0.0.1:8001/v1``."""
    model: str
    """Name of the LLM there; the LLM's own in a file that does not say."""
    extra: Annotated[dict[str, Any], AfterValidator(_check_extra)] = {}
    """Fields of each request that make it this LLM, such as a reasoning effort or a limit of tokens."""
    api_key_env: str = ""
    """Environment variable that holds its key; empty where none is sent."""
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0
    """Longest silence, before the first byte and between two [seconds]."""

    @model_validator(mode="after")
    def _check_key(self) -> "Upstream":
        _ = self.api_key
        return self

    @property
    def api_key(self) -> str:
        """Its key; empty where none is sent."""
        return key_in(self.api_key_env, "api_key_env") if self.api_key_env else ""


def read_upstreams(path: Path) -> dict[str, Upstream]:
    """Read where LLMs are asked.

    Args:
        path: YAML file that maps the name of an LLM to fields of :class:`Upstream`; ``base_url`` is needed.

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
    unknown = [name for name in its if name not in Upstream.model_fields]
    if unknown:  # whose value may be a key, and is not told
        fields = ", ".join(Upstream.model_fields)
        raise ConfigError(f"{place}: unknown field {unknown[0]!r}; expected {fields}. Keys have no place here.")
    try:
        return Upstream.model_validate({"model": llm} | its)
    except ValidationError as error:
        raise ConfigError(f"{place}.{first_problem(error)}.") from None
    except ConfigError as error:
        raise ConfigError(f"{place}.{error}") from None


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
