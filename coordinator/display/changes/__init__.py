"""Show what a change of a job did: what was added, what was removed."""
