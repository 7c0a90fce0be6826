"""The page of the server: its files, which need no build, and the match page of one search as a file of its own."""
