"""A saved router inside LiteLLM's Router and proxy, as a callback; the only home of litellm."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.errors import PoolError
from unirouter_torch.messages import conversation_prompt
from unirouter_torch.router.pool_history import latest_number
from unirouter_torch.router.router import Router


class UniRouterCallback(CustomLogger):  # type: ignore[misc]
    """Narrows the deployments of one model group to those of the LLM that a saved router chooses.

    LiteLLM calls it before each try, with the deployments that are not in cooldown: where one fails, the next try goes
    to the next best LLM. Deployments of one LLM stay together, and LiteLLM balances among them. The pool is read again
    when its folder holds another revision.

    Args:
        router: A saved router: its folder, the name of a bundled one, or a hub id.
        group: ``model_name`` of the deployments that it chooses among; other groups are left alone.
        cost_weight: Error accepted to save one reference cost; that of the pool's target, or 0.1, when not given.
        choice: ``latency_weight`` and ``caution``, as in ``Router.route``.

    Example:
        >>> litellm.callbacks = [UniRouterCallback("runs/quickstart/router")]
        >>> await litellm.Router(model_list=deployments).acompletion(model="unirouter", messages=messages)
    """

    def __init__(
        self, router: str | Path, *, group: str = "unirouter", cost_weight: float | None = None, **choice: float
    ) -> None:
        super().__init__()
        self.router = Router.from_pretrained(router)
        self.group = group
        self._cost_weight = cost_weight
        self._choice = choice
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="unirouter")
        self._choose("What is 17 + 25?", self.router.pool.names)  # a wrong option shows now, and the first call is slow

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Any],
        messages: list[Any] | None,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[Any]:
        """The deployments of the best LLM among those that may answer; all where the router knows none of them."""
        del request_kwargs, parent_otel_span
        if model != self.group or not messages:
            return healthy_deployments
        llms = {llm: None for one in healthy_deployments if (llm := self._llm_of(one)) is not None}
        if not llms:
            return healthy_deployments
        prompt = conversation_prompt(messages, self.router.conversation)
        try:
            chosen = await asyncio.get_running_loop().run_in_executor(self._thread, self._choose, prompt, list(llms))
        except PoolError:  # as where the prompt is longer than every context: LiteLLM says so itself
            return healthy_deployments
        return [one for one in healthy_deployments if self._llm_of(one) == chosen]

    def _choose(self, prompt: str, llms: Sequence[str]) -> str:
        saved = self.router.saved
        if saved is not None and latest_number(saved.folder) != saved.revision.number:
            self.router.reload_pool()
        chooser = self.router.chooser(self._cost_weight, llms=llms, **self._choice)
        (route,) = chooser.routes(self.router.cluster([prompt]), count_tokens([prompt]))
        return route.llm

    def _llm_of(self, deployment: Mapping[str, Any]) -> str | None:
        """The LLM of the pool that a deployment is of: by its ``model_info.llm``, else by its model's name."""
        name = (deployment.get("model_info") or {}).get("llm")
        model = str((deployment.get("litellm_params") or {}).get("model", ""))
        candidates = [name] if name else [model, model.partition("/")[2]]
        return next((one for one in candidates if one in self.router.pool.names), None)
