"""The pure mathematics of routing: cluster errors, decisions, the pool of LLMs."""
