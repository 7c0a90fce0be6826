"""How many of several copies of one picture a query finds, by when its comparing ends."""
