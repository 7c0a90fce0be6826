"""Processes on this machine that a command starts: the embedded broker, workers, Flower."""
