"""Check the structure of image files: compare what one claims with the file before it is decoded."""
