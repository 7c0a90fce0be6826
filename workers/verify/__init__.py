"""Prove that two images show one picture: local features, matching, transform, aligned cells (no Celery, no I/O)."""
