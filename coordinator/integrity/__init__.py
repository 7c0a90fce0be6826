"""Verify a job directory, find what is damaged, and repair it."""
