"""The Celery tasks of the roles, and the code between them and the broker."""
