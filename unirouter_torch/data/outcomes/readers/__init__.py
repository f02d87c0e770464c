"""Readers of outcomes, one form a file; a new file is found by itself."""
