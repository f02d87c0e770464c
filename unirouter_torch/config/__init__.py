"""The schema of everything that can be set, and the files that it is read from."""
