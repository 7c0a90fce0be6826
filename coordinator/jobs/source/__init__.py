"""What changed in a job's source since it was listed: archives, and files that were added, removed or moved."""
