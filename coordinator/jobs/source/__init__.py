"""A job's source: what came, went or moved in it since it was listed, and which image of it a person names."""
