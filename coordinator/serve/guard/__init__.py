"""What a request has to pass before it is answered: Host, origin, key, size and speed."""
