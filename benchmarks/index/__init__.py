"""The index at 500,000 to 2,000,000 made features: build, search, recall, and other libraries beside it."""
