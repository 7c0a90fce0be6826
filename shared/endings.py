"""Endings: how a process ended, in words, by the exit status that Python gives it."""

import signal


def ending(code: int) -> str:
    """What a process ended with: "exit status 3", or "signal SIGSEGV" where its status is the negative of a signal."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:  # Most real-time signals have no name.
        return f"signal {-code}"
