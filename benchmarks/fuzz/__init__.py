"""Damaged files of every format: through the decoders alone, and through `index` and `search`."""
