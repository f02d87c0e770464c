"""What a server counts, in the text format of Prometheus. The only home of prometheus_client."""

import os
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

TEXT_FORMAT: str = CONTENT_TYPE_LATEST
"""Media type of :meth:`Metrics.text`."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_PROMPTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counts of one server.

    Attributes:
        requests: Answered requests, by endpoint and status.
        choices: Prompts that went to each LLM, by the rule.
        upstream_errors: Calls of an LLM that failed before the first byte, or broke off after it, by LLM and reason.
        fallbacks: Chat requests that an LLM answered instead of one that failed before it, by that LLM.
        left_out: 1 for each LLM that is left out for a while, or on trial after it, and 0 for one that was.
        stage: Seconds of each stage: queue and upstream of a request, encode and decide of a batch.
        batch: Prompts that were embedded in one call.
        waiting: Prompts that wait or are in work.
        revision: Number of the revision of the pool that is served; the lowest over all workers.
        reload_errors: Routers, revisions and upstream files that could not be taken over.
        promotions: Routers that came into service after the start.
        trial_prompts: Prompts that were decided while a second router is on trial, by the router that decided:
            serving, and shadow or canary; with a shadow those that both decided.
        trial_expected_cost: Expected cost of these choices, by the estimates of the router that decided [cost unit].
        trial_expected_error: Estimated error of these choices, likewise.
        trial_agreed: Prompts for which a shadow chose the same LLM.
        trial_skipped: Prompts that a shadow left out.
    """

    def __init__(self) -> None:
        self._registry = all_of = CollectorRegistry()
        self.requests = Counter("unirouter_requests", "Answered requests", ["endpoint", "status"], registry=all_of)
        self.choices = Counter("unirouter_choices", "Prompts by chosen LLM", ["llm"], registry=all_of)
        self.upstream_errors = Counter(
            "unirouter_upstream_errors", "Failed calls of an LLM", ["llm", "reason"], registry=all_of
        )
        self.fallbacks = Counter("unirouter_fallbacks", "Chats answered by a next best LLM", ["llm"], registry=all_of)
        self.left_out = Gauge(
            "unirouter_upstream_left_out",
            "LLMs left out for a while",
            ["llm"],
            registry=all_of,
            multiprocess_mode="livemax",
        )
        self.stage = Histogram("unirouter_stage_seconds", "Seconds", ["stage"], buckets=_SECONDS, registry=all_of)
        self.batch = Histogram("unirouter_batch_prompts", "Prompts in a batch", buckets=_PROMPTS, registry=all_of)
        self.waiting = Gauge(
            "unirouter_waiting_prompts", "Prompts waiting or in work", registry=all_of, multiprocess_mode="livesum"
        )
        self.revision = Gauge(
            "unirouter_pool_revision", "Revision of the pool in service", registry=all_of, multiprocess_mode="livemin"
        )
        self.reload_errors = Counter("unirouter_reload_errors", "Changes that were not taken over", registry=all_of)

        self.promotions = Counter("unirouter_promotions", "Routers that came into service", registry=all_of)
        by = ["router"]
        self.trial_prompts = Counter("unirouter_trial_prompts", "Prompts decided", by, registry=all_of)
        self.trial_expected_cost = Counter("unirouter_trial_expected_cost", "Expected cost", by, registry=all_of)
        self.trial_expected_error = Counter("unirouter_trial_expected_error", "Estimated error", by, registry=all_of)
        self.trial_agreed = Counter("unirouter_trial_agreed", "Prompts with the same LLM", registry=all_of)
        self.trial_skipped = Counter("unirouter_trial_skipped", "Prompts that a shadow left out", registry=all_of)

    def counted(self) -> dict[str, Any]:
        """All counts as JSON values: for each metric its samples, each with its labels and its value."""
        return {
            metric.name.removeprefix("unirouter_"): [
                {"name": sample.name.removeprefix(metric.name).lstrip("_"), **sample.labels, "value": sample.value}
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ]
            for metric in self._of_all_workers().collect()
        }

    def text(self) -> bytes:
        """All counts."""
        return generate_latest(self._of_all_workers())

    def _of_all_workers(self) -> CollectorRegistry:
        """These counts, or the sums over all workers where there are several, which keep them in files."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry
