"""Building an index: train, fill, tune, promote."""
