"""Measure what the similarities and verdicts of a job's own searches mean, on altered copies of its images."""
