"""The embed, merge and query roles: thin Celery tasks over pure stages."""
