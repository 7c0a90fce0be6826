"""The HTTP API beside the client: what it adds to a search, how many clients it serves, what thumbnails take."""
