"""How long LLMs take, as a second cost."""

from dataclasses import dataclass

from unirouter_torch.errors import PoolError


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long a call of one LLM takes: ``seconds + seconds_per_token * tokens of the answer``.

    Attributes:
        seconds: Of a call, but for what each token adds [seconds], at least 0.
        seconds_per_token: What each token of the answer adds [seconds / token], at least 0.

    Raises:
        PoolError: A number is negative or not finite.
    """

    seconds: float = 0.0
    seconds_per_token: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("latency", self.seconds), ("latency_per_token", self.seconds_per_token)):
            if not 0 <= value < float("inf"):
                raise PoolError(f"{name}: got {value}, expected a finite number of seconds, at least 0.")
