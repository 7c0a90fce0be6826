"""Whether a job directory is whole: verify it, find what is damaged, repair it."""
