"""The structure of image files: what one claims, compared with the file before it is decoded."""
