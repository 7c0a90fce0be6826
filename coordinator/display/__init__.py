"""What a person sees: the terminal, a job, its hits, checks and measurements as text."""
