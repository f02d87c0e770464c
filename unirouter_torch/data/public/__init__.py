"""Public routing tables of the literature; each file here reads one as its authors publish it."""
