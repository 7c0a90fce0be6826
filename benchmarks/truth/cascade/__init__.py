"""Measure what verdicts of a search cost, what they find, and which candidates are near enough to be compared."""
