"""Training: the only home of lightning."""
