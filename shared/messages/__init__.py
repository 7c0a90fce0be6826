"""Messages between coordinator, clients and workers: tasks, queries, hits, filters."""
