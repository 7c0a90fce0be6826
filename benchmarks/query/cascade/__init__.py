"""Measure the stages of a search with verdicts, and make the tables of all that measures verdicts."""
