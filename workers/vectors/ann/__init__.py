"""Approximate nearest neighbours: plan, build and ask an index, in FAISS or Annoy."""
