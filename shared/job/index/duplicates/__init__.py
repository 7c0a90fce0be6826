"""What a search for duplicates found out about a job: neighbours, compared pairs, rejected pairs."""
