"""Benchmarks: what lookalike does on a machine, in figures that stand with their cost and can be made again."""
