"""List prices from LiteLLM's table, here a made-up one, so that no release of it changes a test."""

import json
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from served_router import saved_router

from unirouter_torch.cli import main
from unirouter_torch.errors import ConfigError, PoolError
from unirouter_torch.integrations import litellm_prices
from unirouter_torch.integrations.litellm_prices import list_price
from unirouter_torch.router.router import Router

TABLE = {
    "small": {"input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07, "max_input_tokens": 128000},
    "tiny": {"input_cost_per_token": 0, "output_cost_per_token": 0},
    "painter": {"output_cost_per_image": 0.1},
}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package = tmp_path / "litellm"
    package.mkdir()
    (package / "model_prices_and_context_window_backup.json").write_text(json.dumps(TABLE))
    spec = ModuleSpec("litellm", None, origin=str(package / "__init__.py"))
    monkeypatch.setattr(litellm_prices, "find_spec", lambda name: spec)
    litellm_prices._table.cache_clear()
    yield
    litellm_prices._table.cache_clear()


def test_prices_are_those_of_a_million_tokens(table: None) -> None:
    assert list_price("small") == (0.15, 0.6, 128000)
    assert list_price("tiny") == (0.0, 0.0, None)


@pytest.mark.parametrize(("name", "what"), [("smal", "near are small"), ("painter", "no price by the token")])
def test_name_without_a_price_is_refused(table: None, name: str, what: str) -> None:
    with pytest.raises(PoolError, match=what):
        list_price(name)


def test_without_litellm_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm_prices, "find_spec", lambda name: None)
    litellm_prices._table.cache_clear()
    with pytest.raises(ConfigError, match=r"unirouter_torch\[litellm\]"):
        list_price("small")


def test_llm_joins_at_its_list_price_and_the_history_says_so(
    table: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, log = saved_router(tmp_path), tmp_path / "scores.jsonl"
    rows = [{"prompt_id": f"p{n}", "score": 1.0, "output_tokens": 10} for n in range(4)]
    log.write_text("\n".join(map(json.dumps, rows)))
    router = Router.from_pretrained(folder)
    router.pool = router.pool.without_llm("small")
    router.save_pool("remove small")
    command = ["pool", "add", "small", "--router", str(folder), "--scores", str(log), "--prices", "litellm"]
    assert main([*command, "--price-out", "2"]) in (None, 0), capsys.readouterr()
    router = Router.from_pretrained(folder)
    llm = router.pool["small"]
    assert llm.token_cost is not None
    assert (llm.token_cost.price_in, llm.token_cost.price_out) == (0.15e-6, 2e-6)
    assert llm.context_tokens == 128000
    assert "list prices of LiteLLM" in router.pool_history()[-1].change.what
