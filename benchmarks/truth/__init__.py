"""How true the answers are: altered photographs searched for while they are there and while they are not."""
