"""Files and objects in stores: whole or absent, on disk, in a bucket or behind a URL."""
