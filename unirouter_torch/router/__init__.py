"""The trained object: Router, its pool and profile, and the folder that it is saved in."""
