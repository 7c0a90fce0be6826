"""Compare the picture of a query with those of its nearest candidates, and give the hits their verdicts."""
