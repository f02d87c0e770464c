"""Saved routers inside other tools; each module is the only home of its tool."""
