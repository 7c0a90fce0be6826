"""The output for people: the terminal, and a job, its hits, checks and measurements as text."""
