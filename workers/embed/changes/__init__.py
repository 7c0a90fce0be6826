"""Change a job as a message asks: add, update and remove images, each in one change of its log (no Celery)."""
