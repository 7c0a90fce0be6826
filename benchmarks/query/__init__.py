"""The whole path of a query: client, broker, worker, index and back."""
