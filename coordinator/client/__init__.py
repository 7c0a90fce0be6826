"""The client: programs enqueue queries and await hits, and what can be a query."""
