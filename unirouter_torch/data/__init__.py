"""Routing tables: where they come from and how they are split and batched."""
