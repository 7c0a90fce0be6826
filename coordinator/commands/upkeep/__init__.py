"""The commands that look after a job that is there: verify, repair, rollback, retry."""
