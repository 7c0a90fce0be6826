"""Prove that two images show the same picture, from the features that are made of each of them."""
