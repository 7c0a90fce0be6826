"""Write a bundle: what a laptop needs of a job to search it, without its photos and its embeddings."""
