"""Order the nearest images of a query by a finer model too, whose embeddings are cached on this machine's disk."""
