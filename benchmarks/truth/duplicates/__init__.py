"""Measure a search for duplicates: how long it takes, and which of the pairs that comparing all finds it finds."""
