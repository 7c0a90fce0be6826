"""Read the embeddings of a job by row, and compute the exact similarity between them."""
