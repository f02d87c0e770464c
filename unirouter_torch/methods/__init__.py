"""Routing methods, one file each, the trial that they see, and their registry."""
