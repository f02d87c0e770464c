"""Changes of pool and router over HTTP, for those who have the key."""

import hmac
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from unirouter_torch.errors import ArtifactError, PoolError
from unirouter_torch.router.router import Router
from unirouter_torch.routing.repricing import costs_in_words, reprice
from unirouter_torch.serving.batching import Batcher
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.serving.promotion import Promotion, RouterRequest
from unirouter_torch.serving.refusals import RefusedError
from unirouter_torch.serving.requests import LLMName

Price = Annotated[float | None, Field(ge=0, allow_inf_nan=False)]


class PoolChangeRequest(BaseModel):
    """A change of the pool; prices are those of ``unirouter pool reprice``, and what is not given stays."""

    model_config = ConfigDict(extra="forbid", strict=True)

    action: Literal["enable", "disable", "reprice", "undo"]
    llm: LLMName | None = None
    cost: Price = None
    price_in: Price = None
    price_out: Price = None
    latency: Price = None

    @property
    def prices(self) -> dict[str, Any]:
        """What is given of prices, by its name in :func:`reprice`."""
        return {name: getattr(self, name) for name in ("cost", "price_in", "price_out", "latency")}


class Changes:
    """Takes changes of the pool; each is one revision, as a command would write it.

    Args:
        live: What is served.
        batcher: On whose thread it is changed.
        promotion: Knows the routers.
        key: Who sends it may change the pool and the router.
    """

    def __init__(self, live: LiveRouter, batcher: Batcher, promotion: Promotion, key: str) -> None:
        self._live = live
        self._batcher = batcher
        self._promotion = promotion
        self._expected = f"Bearer {key}".encode()

    async def change(self, body: PoolChangeRequest, request: Request) -> dict[str, Any]:
        """Enable, disable or reprice an LLM, or undo the latest change that was not undone."""
        self.check_key(request)
        if body.action == "undo":
            change: Callable[[Router], None] = Router.undo_pool
        else:
            change = partial(_change, body=body)
        revision = await self._batcher.between(partial(self._live.change, change))
        return {"revision": revision.number, "what": revision.change.what}

    async def promote(self, body: RouterRequest, request: Request) -> dict[str, Any]:
        """Bring the router on trial, another one or the one before into service, between two batches."""
        self.check_key(request)
        try:
            await self._promotion.promote(body)
        except ArtifactError as error:  # of the folder that the request names
            raise RefusedError(400, str(error), param="router") from None
        return await self._promotion.describe()

    def check_key(self, request: Request) -> None:
        """Refuse who does not send the key.

        Raises:
            RefusedError: The key is missing or another one.
        """
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, self._expected):
            raise RefusedError(
                403, "Changes need the key of --allow-changes: send Authorization: Bearer KEY.", code="invalid_api_key"
            )


def _change(router: Router, body: PoolChangeRequest) -> None:
    if body.llm is None:
        raise PoolError(f"llm: {body.action} needs the name of an LLM. Send it.")
    told = costs_in_words(body.prices)
    if body.action == "reprice" and not told:
        raise PoolError(f"cost of {body.llm!r}: got none. Send cost, price_in, price_out or latency.")
    if body.action != "reprice" and told:
        raise PoolError(f"{body.action}: got {told}, which belongs to reprice. Leave it out.")
    what = f"{body.action} {body.llm}" + (f" to {told}" if told else "")

    def change() -> None:
        if body.action == "reprice":
            changes = vars(reprice(router.pool[str(body.llm)], **body.prices))
        else:
            changes = {"is_available": body.action == "enable"}
        router.pool = router.pool.with_changes(str(body.llm), **changes)

    router.change_pool(change, what)
