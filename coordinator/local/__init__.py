"""This machine: the processes that a command starts (the embedded broker, workers, Flower), and what hides ours."""
