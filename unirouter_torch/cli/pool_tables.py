"""What ``unirouter pool`` and ``unirouter adopt`` print of a pool."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from unirouter_torch.router.calibration import cost_of_prompts
from unirouter_torch.router.description import describe_pool

if TYPE_CHECKING:
    from unirouter_torch.router.pool_history import PoolRevision
    from unirouter_torch.router.profile import ClusterStanding, LLMProfile
    from unirouter_torch.router.router import Router
    from unirouter_torch.routing.pool import LLMPool

_NUM_CLUSTERS = 4


def pool_table(router: "Router", most: int | None = None) -> Table:
    """The LLMs of a router, the best first.

    Args:
        router: A router with a pool.
        most: How many LLMs to show; all by default.
    """
    pool = router.pool
    llms = sorted(describe_pool(router)["llms"], key=lambda llm: (llm["error"], llm["llm"]))
    caption = f"{len(router.calibration.texts)} calibration prompts; cost in {_unit(pool)}"
    seconds = ("seconds",) if any(llm.latency for llm in pool.llms) else ()
    context = ("context",) if any(llm.context_tokens for llm in pool.llms) else ()
    table = _table(f"{len(llms)} LLMs", ("LLM", "outcomes", "error", "cost", *seconds, *context), caption)
    for llm in llms[:most]:
        name = llm["llm"] if llm["is_available"] else f"{llm['llm']} (disabled)"
        style = None if llm["is_available"] else "dim"
        facts = f"{llm['outcomes']:.0f}", f"{llm['error']:.3f}", f"{llm['cost']:.4g}"
        beside = [_typical_latency(pool, llm["llm"]) for _ in seconds]
        beside += ["any" if llm["context_tokens"] is None else f"{llm['context_tokens']:,}" for _ in context]
        table.add_row(name, *facts, *beside, style=style)
    if most is not None and len(llms) > most:
        table.add_row(f"and {len(llms) - most} more")
    return table


def _typical_latency(pool: "LLMPool", name: str) -> str:
    """Seconds of a call with an answer of mean length; empty where not known."""
    llm = pool[name]
    if llm.latency is None:
        return ""
    tokens = 0.0 if llm.token_cost is None else llm.token_cost.mean_output_tokens
    return f"{llm.latency.seconds + llm.latency.seconds_per_token * tokens:.3g}"


def profile_tables(profile: "LLMProfile", router: "Router") -> list[Table]:
    """What a router knows of one LLM: its clusters, its relatives, its traffic."""
    state = "" if profile.is_available else ", disabled"
    seconds = _typical_latency(router.pool, profile.name)
    title = (
        f"{profile.name}{state}\nerror {profile.error:.3f} over {profile.outcomes:.0f} calibration prompts, "
        f"cost {profile.cost:.4g} {_unit(router.pool)}" + (f", {seconds} seconds a call" if seconds else "")
    )
    return [
        _clusters_table(title, profile.clusters),
        _relatives_table(profile, router),
        _traffic_table(profile),
    ]


def history_table(revisions: Sequence["PoolRevision"]) -> Table:
    """All changes of a pool, the first one first."""
    columns = ("revision", "when [UTC]", "who", "what", "from")
    table = _table("history", columns, "", left=columns[1:])
    for revision in revisions:
        change = revision.change
        source = f"{change.data} (SHA-256 {change.data_sha256[:12]}...)" if change.data else ""
        when = change.when.removesuffix("+00:00").replace("T", " ")
        table.add_row(str(revision.number), when, change.who, change.what, source)
    return table


def _clusters_table(title: str, clusters: Sequence["ClusterStanding"]) -> Table:
    table = _table(title, ("cluster", "prompts", "error", "90 % interval", "pool"), "")
    for column in table.columns:
        column.no_wrap = True
    table.expand = True
    table.add_column("prompts of this kind", no_wrap=True, overflow="ellipsis", ratio=1)
    table.caption = "clusters where it is ahead of the mean of the pool the most, and the least"
    shown = list(clusters)
    if len(clusters) > 2 * _NUM_CLUSTERS:
        shown = [*clusters[:_NUM_CLUSTERS], *clusters[-_NUM_CLUSTERS:]]
    for number, one in enumerate(shown):
        interval = f"{one.interval[0]:.2f} to {one.interval[1]:.2f}"
        table.add_row(
            f"{one.cluster}",
            f"{one.outcomes:.1f}",
            f"{one.error:.3f}",
            interval,
            f"{one.pool_error:.3f}",
            _one_line_each(one.examples),
            end_section=len(clusters) > len(shown) and number + 1 == _NUM_CLUSTERS,
        )
    return table


def _relatives_table(profile: "LLMProfile", router: "Router") -> Table:
    costs = dict(
        zip(
            router.pool.names,
            cost_of_prompts(router.head, router.calibration, router.pool).typical.tolist(),
            strict=True,
        )
    )
    table = _table("nearest relatives", ("LLM", "distance of cluster errors", "cost"), "")
    for name, distance in profile.relatives.items():
        table.add_row(name, f"{distance:.3f}", f"{costs[name]:.4g}")
    return table


def _traffic_table(profile: "LLMProfile") -> Table:
    if not profile.traffic:
        caption = "not known: latency counts, and that of this LLM is not known; give it with unirouter pool reprice"
    elif profile.takes_from is None:
        caption = "it is never the choice for a calibration prompt"
    elif profile.takes_to is None:
        caption = f"it takes calibration prompts from a cost weight of {profile.takes_from:.3g} on"
    else:
        caption = (
            f"it takes calibration prompts at cost weights from {profile.takes_from:.3g} to {profile.takes_to:.3g}"
        )
    title = (
        "share of the calibration prompts" if profile.is_available else "share of the calibration prompts, if enabled"
    )
    table = _table(title, ("cost weight", *(f"{weight:g}" for weight in profile.traffic)), caption)
    if profile.traffic:
        table.add_row("share", *(f"{share:.1%}" for share in profile.traffic.values()))
    return table


def _table(title: str, columns: Sequence[str], caption: str, left: Sequence[str] = ("LLM",)) -> Table:
    table = Table(title=title, caption=caption or None, title_justify="left", caption_justify="left")
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")
    return table


def _one_line_each(texts: Sequence[str]) -> str:
    return "\n".join(" ".join(text.split()) for text in texts)


def _unit(pool: "LLMPool") -> str:
    return pool.cost_unit + (" (estimated)" if pool.cost_is_estimate else "")
