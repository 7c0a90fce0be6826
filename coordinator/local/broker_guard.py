"""Guard an embedded broker, in a process of its own: keep the server up while it has users, then end it.

Run as `python -I broker_guard.py SERVER CONFIGURATION FIFO LOCK`. A user is a process that holds the write end of FIFO,
so one that is killed lets go as surely as one that ends in order. The guard imports only the standard library: it must
be small and start at once.
"""

import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_LOOK_MILLISECONDS = 500
_QUICK_DEATHS = 5
_QUICK_SECONDS = 60.0


def has_users(fifo: int) -> bool:
    """Whether any process holds the write end: reading finds the end of the file only when none does."""
    try:
        return os.read(fifo, 1) != b""
    except BlockingIOError:
        return True


def start(command: list[str]) -> "subprocess.Popen[bytes]":
    """Start the server; on Linux it ends with its guard, even one that is killed."""
    if sys.platform != "linux":
        return subprocess.Popen(command)
    prctl = ctypes.CDLL(None).prctl
    return subprocess.Popen(command, preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM))


def guard(server_command: list[str], fifo_path: str, lock_path: str) -> int:
    """Run the server until its last user has let go; 1 when it keeps dying.

    The process that starts the guard is already its first user. A server that dies while it has users is started again,
    empty: what is on disk is enough for them to continue. Joining and ending exclude each other by the lock, so no
    process joins a server that is about to end.
    """
    fifo = os.open(fifo_path, os.O_RDONLY | os.O_NONBLOCK)
    poller = select.poll()
    poller.register(fifo, select.POLLHUP)
    server = start(server_command)
    deaths: list[float] = []
    while True:
        poller.poll(_LOOK_MILLISECONDS)
        if not has_users(fifo):
            with open(lock_path, "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not has_users(fifo):
                    os.unlink(fifo_path)
                    server.terminate()
                    server.wait()
                    return 0
        if server.poll() is not None:
            now = time.monotonic()
            deaths = [*deaths, now][-_QUICK_DEATHS:]
            if len(deaths) == _QUICK_DEATHS and now - deaths[0] < _QUICK_SECONDS:
                os.unlink(fifo_path)
                return 1
            server = start(server_command)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # These signals are for the coordinator; the broker outlasts its workers.
    sys.exit(guard(sys.argv[1:3], sys.argv[3], sys.argv[4]))
