"""The checks of `doctor` before a job runs, the sample that it times, and the estimate from it."""
