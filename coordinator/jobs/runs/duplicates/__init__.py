"""A run of `duplicates`: neighbours and comparisons are asked for, and the images that show the same are grouped."""
