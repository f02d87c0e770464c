"""Routing methods that are fitted without gradient descent, one file each."""
