"""Benchmarks: what lookalike does on a machine, in figures that stand with their cost and can be made again.

`python -m benchmarks.SUBJECT`, from the root of the repository; results go to benchmarks/results.
"""
