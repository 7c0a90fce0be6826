"""What makes a job directory a bundle: what it says of itself, its codes, its thumbnails."""
