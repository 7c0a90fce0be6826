"""Answer queries: images to vectors, vectors to hits of the promoted build."""
