"""Random faults against real processes, and after each round what must hold of the job."""
