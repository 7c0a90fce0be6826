"""What became of a job's source since it was listed: archives, files that came, went, moved."""
