"""What a job knows of the files it was listed from: their digests, and where they are now."""
