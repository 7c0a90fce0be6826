"""Pairs of different photographs that a method may take for one: which are hard, and what is said of them."""
