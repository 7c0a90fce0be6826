"""What coordinator and workers must agree on: files of a job, messages, broker settings, errors."""
