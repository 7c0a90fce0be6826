"""What happened to a job after it was made: the log of its changes, and the state that they lead to."""
