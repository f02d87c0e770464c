"""Write the tables of ``docs/evidence/peers.md`` from the JSON of ``compare_peers.py``, and print them.

python scripts/peers_page.py docs/evidence/peers.json docs/evidence/peers.md
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unirouter_torch.metrics.statistics import bootstrap_mean, sign_test
from unirouter_torch.storage import read_json, write_atomically

TITLES = {
    "zero": "ZeroRouter",
    "kmeans": "UniRoute K-means",
    "hierarchical_shrinkage_24": "vLLM's hierarchical shrinkage, as shipped",
    "hierarchical_shrinkage": "the same, strength chosen",
    "end_to_end": "**End-to-end**",
    "llmrouter_knn": "LLMRouter K-NN",
    "llmrouter_svm": "LLMRouter SVM",
    "llmrouter_mlp": "LLMRouter MLP",
    "llmrouter_mf": "LLMRouter matrix factorisation",
    "routellm_mf": "RouteLLM matrix factorisation",
}
KNOW_TWO = ("routellm_mf",)
OF_PAIR = ("zero", "kmeans", "hierarchical_shrinkage_24", "end_to_end", "routellm_mf")
OURS = ("zero", "kmeans", "hierarchical_shrinkage", "end_to_end")
"""Not of a peer; hierarchical shrinkage as vLLM ships it is."""
NAMES = {
    "mmlu_pro": "MMLU-Pro",
    "zeroeval": "ZeroEval",
    "llmrouter_default": "LLMRouter's table",
    "farel_bench": "FaReL",
    "eq_bench_v2": "EQ-Bench",
}
Records = list[dict[str, Any]]


def tables(found: dict[str, Any]) -> str:
    """All tables as Markdown."""
    records, parts = found["records"], []
    for table, pool in dict.fromkeys((record["table"], record["pool"]) for record in records):
        here = [record for record in records if (record["table"], record["pool"]) == (table, pool)]
        num_trials = len({record["trial"] for record in here})
        kind = "all LLMs fixed" if pool == "fixed" else "new LLMs"
        first = here[0]
        trials = f"{num_trials} trial{'s' if num_trials > 1 else ''}"
        size = f"{first['num_llms']} LLMs, {first['num_labelled']:,} labelled prompts, {trials}"
        parts.append(f"### {table}: {kind}\n\n{size}.")
        parts += [part for part in (quality_table(here), choice_table(here), pair_table(here)) if part]
    parts.append(f"## Cost at 99% of the best LLM's quality\n\n{saving_table(records)}")
    parts.append(f"## Time and memory\n\n{cost_table(records)}")
    return "\n\n".join(parts)


def quality_table(here: Records) -> str:
    """Routers among all LLMs of the pool."""
    rows = []
    best = [record["default"]["area"] for record in _of(here, "end_to_end")]
    for name in dict.fromkeys(record["method"] for record in here if record["method"] not in KNOW_TWO):
        for way in ("default", "tuned"):
            figures = [record.get(way) for record in _of(here, name)]
            if not any(figures):
                continue
            values = [_mean(figures, key) for key in ("area", "quality_at_25", "quality_at_50")]
            title = TITLES[name] + (", tuned" if way == "tuned" else "")
            rows.append([title, *values, _reached(figures), "" if name == "end_to_end" else _won(best, figures)])
    heads = ["router", "area", "quality at 25% of the highest cost", "at 50%", "cost at 99% of the best LLM's quality"]
    return _markdown([*heads, "end-to-end won : lost"], rows)


def saving_table(records: Records) -> str:
    """Each router's cost at 99% of the best LLM's quality with its interval, and ours less it."""
    rows = []
    for table, pool in dict.fromkeys((record["table"], record["pool"]) for record in records):
        here = [record for record in records if (record["table"], record["pool"]) == (table, pool)]
        ours = _costs(record["default"] for record in _of(here, "end_to_end"))
        for name in dict.fromkeys(record["method"] for record in here if record["method"] not in KNOW_TWO):
            for way in ("default", "tuned"):
                figures = [record[way] for record in _of(here, name) if way in record]
                if len(figures) < len(ours):
                    continue
                costs = _costs(figures)
                less = [mine - its for mine, its in zip(ours, costs, strict=True)]
                won, lost = sum(one < 0 for one in less), sum(one > 0 for one in less)
                rows.append(
                    [
                        f"{table}, {pool}",
                        TITLES[name] + (", tuned" if way == "tuned" else ""),
                        _with_ends(costs),
                        f"{sum(one['cost_at_99'] is not None for one in figures)} of {len(figures)}",
                        "" if name == "end_to_end" else _with_ends(less, sign="+"),
                        "" if name == "end_to_end" else f"{won} : {lost}, p = {sign_test(less):.2g}",
                    ]
                )
    heads = ["table, LLMs", "router", "cost", "trials that reach it", "end-to-end less it", "cheaper : more expensive"]
    return _markdown(heads, rows)


def costs_beside_peers(found: dict[str, Any]) -> str:
    """Our cost of 99% of the best LLM's quality, and the lowest of the peers', on each table with new LLMs."""
    parts = []
    for table in NAMES:
        here = [record for record in found["records"] if (record["table"], record["pool"]) == (table, "new")]
        if not here:
            continue
        ours = _costs(record["default"] for record in _of(here, "end_to_end"))
        peers = [
            _costs(record[way] for record in _of(here, name) if way in record)
            for name in dict.fromkeys(record["method"] for record in here)
            for way in ("default", "tuned")
            if name not in (*OURS, *KNOW_TWO)
        ]
        best = min(sum(costs) / len(costs) for costs in peers if len(costs) == len(ours))
        parts.append(f"{NAMES[table]} {sum(ours) / len(ours):.0%} against {best:.0%}")
    return ", ".join(parts)


def choice_table(here: Records) -> str:
    """What the peers choose by themselves, beside ours at the same cost."""
    rows = []
    for name in dict.fromkeys(record["method"] for record in here):
        choices = [record["choice"] for record in _of(here, name) if "choice" in record]
        if choices:
            share = sum(choice["relative_cost"] for choice in choices) / len(choices)
            rows.append([TITLES[name], _mean(choices, "quality"), f"{share:.0%}", _mean(choices, "our_quality")])
    heads = ["router, its own choice", "quality", "share of the highest cost", "end-to-end at that cost"]
    return _markdown(heads, rows) if rows else ""


def pair_table(here: Records) -> str:
    """Routers between a strong and a weak LLM."""
    rows = []
    best = [record["pair"]["area"] for record in _of(here, "end_to_end")]
    for name in OF_PAIR:
        for way in ("default", "tuned") if name in KNOW_TWO else ("pair",):
            figures = [record.get(way) for record in _of(here, name)]
            if not any(figures):
                continue
            title = TITLES[name] + (", tuned" if way == "tuned" else "")
            won = "" if name == "end_to_end" else _won(best, figures)
            rows.append([title, _mean(figures, "area"), _reached(figures), won])
    heads = ["router between two LLMs", "area", "cost at 99% of the best LLM's quality", "end-to-end won : lost"]
    return _markdown(heads, rows)


def cost_table(records: Records) -> str:
    """What every router takes, on the largest set of labels."""
    largest = max(record["num_labelled"] * record["num_llms"] for record in records)
    here = [record for record in records if record["num_labelled"] * record["num_llms"] == largest]
    rows = []
    for name in dict.fromkeys(record["method"] for record in here):
        mine = [record for record in _of(here, name) if record.get("fit_seconds") is not None]
        if not mine:
            rows.append([TITLES[name], "did not run", "", "", ""])
            continue
        seconds, memory, batch, single = (
            sum(record[key] for record in mine) / len(mine)
            for key in ("fit_seconds", "fit_bytes", "batch_per_second", "single_per_second")
        )
        rows.append([TITLES[name], f"{seconds:.2g}", f"{memory / 1e6:,.0f}", f"{batch:,.0f}", f"{single:,.0f}"])
    first = here[0]
    size = f"{first['table']}, {first['num_labelled']:,} labelled prompts, {first['num_llms']} LLMs"
    heads = ["router", "fit [s]", "memory of the fit [MB]", "prompts/s in a batch", "prompts/s one at a time"]
    return f"{size}; one thread, embeddings given.\n\n{_markdown(heads, rows)}\n\n{error_list(records)}"


def error_list(records: Records) -> str:
    """What did not run, with its error."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        title = TITLES[record["method"]]
        if record.get("embeds", "works") != "works":
            found.setdefault(record["embeds"], {})[f"{title} (its own embedding of a prompt)"] = None
        for error in record.get("errors", {}).values():
            found.setdefault(error, {})[f"{title} (some settings on {record['table']}, {record['pool']})"] = None
    lines = [f"* {'; '.join(titles)}: `{error}`" for error, titles in found.items()]
    return "What did not run:\n\n" + "\n".join(lines) if lines else "Everything ran."


def _won(best: list[float], figures: list[dict[str, Any] | None]) -> str:
    pairs = [(ours, one["area"]) for ours, one in zip(best, figures, strict=True) if one is not None]
    return f"{sum(ours > area for ours, area in pairs)} : {sum(ours < area for ours, area in pairs)}"


def _of(records: Records, name: str) -> Records:
    return [record for record in records if record["method"] == name]


def _mean(figures: Iterable[dict[str, Any] | None], key: str) -> str:
    values = [one[key] for one in figures if one is not None and one[key] is not None]
    return f"{sum(values) / len(values):.4f}" if values else ""


def _costs(figures: Iterable[dict[str, Any]]) -> list[float]:
    """Costs at 99%; 100%, which is what the best LLM itself costs, where a router costs more or does not reach it."""
    return [1.0 if one["cost_at_99"] is None else min(1.0, one["cost_at_99"]) for one in figures]


def _with_ends(values: list[float], sign: str = "") -> str:
    mean, low, high = bootstrap_mean(values)
    return f"{mean:{sign}.1%} [{low:{sign}.1%}, {high:{sign}.1%}]"


def _reached(figures: list[dict[str, Any] | None]) -> str:
    known = [one["cost_at_99"] for one in figures if one is not None]
    values = [value for value in known if value is not None]
    if not values:
        return "not reached"
    return f"{sum(values) / len(values):.1%}" + (
        "" if len(values) == len(known) else f" ({len(values)} of {len(known)})"
    )


def _markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join([*row, *[''] * (len(heads) - len(row))])} |" for row in rows)])


def write_page(found: Path, page: Path | None) -> None:
    """Print the tables, and put them between the marks of a page."""
    text = tables(read_json(found))
    print(text)
    if page is not None:
        put_between(page, "peers.json", text)


def put_between(page: Path, name: str, text: str) -> None:
    """Put a text between the two comments of a page that name a file."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    write_atomically(page, f"{before}{begin}\n\n{text}\n\n{end}{after}".encode())


if __name__ == "__main__":
    write_page(Path(sys.argv[1]), Path(sys.argv[2]))
