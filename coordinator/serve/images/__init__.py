"""The images of a job as the HTTP API gives them: only the bytes that were embedded, and thumbnails of those."""
