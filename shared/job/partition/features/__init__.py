"""The features of the images of a partition on disk: what tells copies apart, beside the embeddings."""
