"""Random faults against real processes, and a check of the job after each round."""
