"""The commands that maintain an existing job: verify, repair, rollback, retry, delete, compact."""
