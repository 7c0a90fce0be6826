"""Files of a job that are not at their place: looked for where the source moved to, and under other names."""
