import math

import pytest

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.latency import Latency


@pytest.mark.parametrize(
    ("seconds", "of_token", "message"),
    [(-1.0, 0.0, "latency: got -1.0"), (math.inf, 0.0, "latency"), (0.0, math.nan, "latency_per_token: got nan")],
)
def test_latency_is_a_number_of_seconds(seconds: float, of_token: float, message: str) -> None:
    with pytest.raises(PoolError, match=message):
        Latency(seconds=seconds, seconds_per_token=of_token)
