"""From prompts to embeddings: encoders, their files, and their caches."""
