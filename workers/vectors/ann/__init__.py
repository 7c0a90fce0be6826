"""Approximate nearest neighbours: plan, build and search an index, in FAISS or Annoy."""
