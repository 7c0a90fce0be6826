"""Images in files, archives, Parquet and URLs: where each is, and how its bytes are read."""
