"""The Celery tasks of the roles, and what is between them and the broker."""
