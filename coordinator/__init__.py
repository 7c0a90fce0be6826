"""coordinator: splits the work, asks for it, watches it; never opens an image."""
