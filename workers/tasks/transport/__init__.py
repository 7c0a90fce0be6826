"""The messages of a worker, between Redis and Celery."""
