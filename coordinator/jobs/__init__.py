"""A job from its creation to a promoted index: create, run, reconcile, progress, rollback, retry."""
