"""The commands of `lookalike`: one file for each, which parses, calls and shows."""
