"""The questions of `doctor` that a process of the workers answers: engine and weights, and a timed sample."""
