"""The HTTP API of `lookalike serve`: routes, openapi.json and docs are made of one declaration."""
