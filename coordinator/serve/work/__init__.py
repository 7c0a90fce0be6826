"""What workers do for the HTTP API: the broker and worker behind it, searches, and changes of jobs."""
