"""Measure what lookalike does on a machine, in figures that come with their cost and can be measured again.

`python -m benchmarks.SUBJECT`, from the root of the repository; results go to benchmarks/results.
"""
