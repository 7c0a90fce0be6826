"""Find the images that a filter chooses among those of a job."""
