"""What is known of the duplicates of a job: neighbours, compared pairs, rejected pairs, and images to be kept."""
