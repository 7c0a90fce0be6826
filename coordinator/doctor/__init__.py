"""What `doctor` checks before a job runs, the sample that it times, and what follows from it."""
