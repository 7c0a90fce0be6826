"""The index builds of a job: what each is, which serves, and which one was asked for."""
