"""Find out about a whole job: recall, latency and accuracy of its build, duplicates in it, and what doctor asks."""
