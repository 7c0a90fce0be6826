"""What surrounds a job, as functions: would it run here, packing, measuring its index, photographs to try it with."""
