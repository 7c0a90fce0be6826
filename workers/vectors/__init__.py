"""Embeddings of a job by row, and the exact similarity between them."""
