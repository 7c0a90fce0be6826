"""Find images that show the same: neighbours by the index of a job, and pairs that are compared by their pixels."""
