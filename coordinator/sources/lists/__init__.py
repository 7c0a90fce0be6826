"""Lists of image paths: lines of text, CSV, JSON Lines or Parquet; their further columns are kept."""
