"""Build an index: train, fill, tune, promote."""
