"""How good a router is: the deferral curve, the figures read off it, statistics over trials, diagnostics."""
