"""Source metadata: what a source says about its images besides their paths, as columns, texts, JSON, numbers."""
