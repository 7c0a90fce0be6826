"""The client, which sends queries and awaits hits, and the forms that a query can have."""
