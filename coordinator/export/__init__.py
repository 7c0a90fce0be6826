"""Export a job: make a bundle of it."""
