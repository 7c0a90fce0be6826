"""Hold what every worker process needs: settings, stop flag, connection to Redis."""

import logging
import os
import platform
import queue
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import redis
from celery import bootsteps

from shared.broker.connection import connect
from shared.broker.lease import wait_seconds
from shared.errors import AnotherJob, SettingsError
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.settings import PARENT_PIPE, Settings
from workers.tasks.identities import Identities

log = logging.getLogger("lookalike.worker")

ORPHAN_GRACE_SECONDS = 15.0


class Stopping:
    """Whether this process is to end. A signal handler may say so at any moment, and once more while it says so.

    A threading.Event would not do: it holds a lock for a moment, and the handler of a second signal that comes in it
    would wait for the first one, which waits for the second. SimpleQueue is made for such callers.
    """

    def __init__(self) -> None:
        self._said = False
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Say that it is to end."""
        self._said = True
        self._bell.put(None)

    def is_set(self) -> bool:
        return self._said

    def wait(self, seconds: float) -> bool:
        """Wait until it is to end, for so many seconds at most; whether it is."""
        try:
            self._bell.get(timeout=seconds)
        except queue.Empty:
            return self._said
        self._bell.put(None)  # For the next who waits.
        return True


class Runtime:
    """One for each process; workers/app.py creates it, and tasks get it through the Celery app."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stopping = Stopping()
        self._identities = Identities(settings)
        self._client: redis.Redis | None = None
        self._lock = threading.Lock()

    @property
    def client(self) -> redis.Redis:
        """This process's own connection to Redis, made at first use; it does not wait for a broker that hangs."""
        with self._lock:
            if self._client is None:
                self._client = connect(self.settings, wait_seconds(self.settings.lease_seconds))
            return self._client

    def job(self, job_id: str, identity: str | None = None) -> JobDir:
        """The job of a message under this worker's root; raises JobError for an id that leads elsewhere.

        With the `identity` that the message carries, raises AnotherJob when the job of that name is not the one meant,
        and what `load_manifest` raises.
        """
        if self.settings.jobs_root is None:
            raise SettingsError(
                "This worker does not know where the jobs lie",
                remedy=Remedy(
                    "option", does="start it with {}, or set LOOKALIKE_JOBS_ROOT", given={"jobs_root": "DIR"}
                ),
            )
        job = JobDir.under(self.settings.jobs_root, job_id)
        if identity is not None and self._identities.of(job) != identity:
            raise AnotherJob(
                f"The job {job_id} that was asked for is not the one at {job.path}, which a worker on "
                f"{platform.node()} serves: it lies under another jobs root, or was made anew since. Workers of "
                "several jobs roots can't share one database of a broker: give each root a database number of its "
                "own, as in redis://HOST:6379/1, for its workers and for whoever asks."
            )
        return job

    @property
    def decode_threads(self) -> int:
        """How many threads decode the images for altered copies."""
        return self.settings.decode_threads or os.cpu_count() or 1


def follow_parent(environ: "os._Environ[str]") -> None:
    """When a coordinator started this process, end with it, even if it was killed: its end of the pipe closes then."""
    number = environ.pop(PARENT_PIPE, None)
    if number is None:
        return

    def wait() -> None:
        os.read(int(number), 1)
        log.warning("The coordinator is gone; stopping after this batch.")
        os.kill(os.getpid(), signal.SIGTERM)
        # If the embedded broker is gone too, Celery may wait for it without end. What is committed is on disk.
        threading.Event().wait(ORPHAN_GRACE_SECONDS)
        os._exit(1)

    threading.Thread(target=wait, name="follow-parent", daemon=True).start()


class WakesAtSignals(bootsteps.StartStopStep):  # type: ignore[misc]
    """Wakes the loop of a worker when a signal comes, so that a worker that is told to end does so at once.

    The loop looks at its stop flag at each turn, and a turn in which nothing comes takes up to a second: Python goes on
    with a wait that a signal interrupts.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.woken, self.waker = socket.socketpair()
        self.woken.setblocking(False)
        self.waker.setblocking(False)

    def register_with_event_loop(self, parent: Any, hub: Any) -> None:
        """Called by Celery before each loop, also the one after a lost connection; in the main thread."""
        hub.add_reader(self.woken, self.woken.recv, 4096)
        signal.set_wakeup_fd(self.waker.fileno(), warn_on_full_buffer=False)


class LatestEvent:
    """Sends the latest of many progress texts as a task event, from a thread of its own.

    An event goes out at most once a second and only while there is something new. A broker that is away, or slow,
    costs the task nothing: the thread waits for it, and what was not sent is overwritten.
    """

    def __init__(self, send: Callable[[str], Any], seconds: float = 1.0) -> None:
        self._send = send
        self._seconds = seconds
        self._text: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress-events", daemon=True)
        self._thread.start()

    def put(self, text: object) -> None:
        self._text = str(text)

    def _run(self) -> None:
        sent = None
        while not self._stop.wait(self._seconds):
            text = self._text
            if text is None or text == sent:
                continue
            try:
                self._send(text)
                sent = text
            except Exception as error:
                log.debug("A progress event was not sent (%s).", error)

    def close(self) -> None:
        """Stop sending: an event after the task's end would overwrite its result in Flower."""
        self._stop.set()
        self._thread.join(timeout=0.5)  # This does not wait for an event on its way to a broker that hangs.
