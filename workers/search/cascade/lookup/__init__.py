"""Look up the stored PDQs of jobs near to that of a query: near copies are found, however far their embeddings are."""
