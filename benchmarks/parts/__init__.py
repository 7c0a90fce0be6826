"""Where the milliseconds of a search go, part by part."""
