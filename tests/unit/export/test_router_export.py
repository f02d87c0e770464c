from pathlib import Path

import pytest
from small_router import small_router

from unirouter_torch.errors import PoolError
from unirouter_torch.export.router_export import export_router
from unirouter_torch.modeling.calibration import TokenPrices


@pytest.mark.parametrize("kind", ["disabled", "metered"])
def test_pool_that_an_export_cannot_hold_is_refused(tmp_path: Path, kind: str) -> None:
    router = small_router(tmp_path)
    if kind == "disabled":
        router.pool = router.pool.with_availability("small", False)
    else:
        tokens = TokenPrices(price_in=0.1, price_out=0.1, output_tokens={"p0": 3.0})
        router.add_llm("new", {"p0": 1.0}, 0.0, tokens=tokens)
    with pytest.raises(PoolError, match="is disabled or paid by the token"):
        export_router(router, "torch", tmp_path / "export")
    assert not (tmp_path / "export").exists()
