"""Measure the stages of a search with verdicts: what each finds, and what it costs."""
