"""The methods that are compared: each stores the photographs, judges all queries, and answers one as a program asks."""
