"""How good a router is: deferral curves and what is read off them, trials over random splits, reports."""
