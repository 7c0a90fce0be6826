"""Embed a partition: from its images to committed chunks and a seal."""
