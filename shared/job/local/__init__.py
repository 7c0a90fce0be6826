"""The files of a job as this machine has them, wherever the job is, and the cache of those of jobs in stores."""
