"""What a source says of its images besides their paths: columns, texts, JSON, numbers."""
