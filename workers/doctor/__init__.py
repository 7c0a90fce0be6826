"""What `doctor` asks of a worker: its engine and weights, and a timed sample."""
