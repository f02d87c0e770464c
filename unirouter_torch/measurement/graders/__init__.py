"""Graders that need nothing but a reference, one a file; a new file is found by itself."""
