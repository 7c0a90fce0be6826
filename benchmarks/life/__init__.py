"""The life of a job that grows and forgets, whose commands are killed: the same operations as in an undisturbed job."""
