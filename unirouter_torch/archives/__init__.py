"""Routers over archives: logged prompts in many shards."""
