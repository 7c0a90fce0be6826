"""One partition on disk: its chunks, its seal, its ledger entry, its retry marker."""
