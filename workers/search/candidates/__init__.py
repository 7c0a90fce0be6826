"""Find the images that a query is compared with: those near it in the index, and those that came after it."""
