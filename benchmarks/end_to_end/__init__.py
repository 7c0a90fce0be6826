"""From a folder of photographs to hits, and the same run killed and resumed."""
