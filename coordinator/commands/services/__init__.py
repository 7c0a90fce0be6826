"""The commands of processes that stay: workers, Flower and the HTTP API."""
