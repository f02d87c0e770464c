"""The embedded default data: simulated prompts and what simulated LLMs make of them."""

from unirouter_torch.data.simulate.tables import simulate_tables as simulate_tables

__all__ = ["simulate_tables"]
