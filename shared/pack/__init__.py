"""The files of a pack: its directory and its tables."""
