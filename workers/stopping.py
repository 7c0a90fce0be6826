"""How a stage says that it was asked to stop."""


class Stopped(Exception):
    """The worker was told to stop, or lost its lease; what is committed stays, the rest is somebody else's."""
