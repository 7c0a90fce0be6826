"""The broker and the query worker behind a server: those that run, or its own, which it keeps at work."""

import logging
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from coordinator.client.sent_queries import QueryBroker
from coordinator.local.broker import EmbeddedBroker
from coordinator.local.workers import CHILD_PREFIX, LocalWorkers
from shared.broker.connection import CONNECTION_ERRORS, connect, make_app, require_working_broker
from shared.broker.holders import announced
from shared.errors import LookalikeError, NoWorker, WorkerFailed
from shared.errors.remedy import Remedy
from shared.settings import Settings

log = logging.getLogger("lookalike.http")

_LOOK_SECONDS: Final = 0.5
_ASK_SECONDS: Final = 3.0
_COME_BACK_SECONDS: Final = 60.0
# A query worker commits nothing, and nobody waits for its answers any more.
_STOP_SECONDS: Final = 2.0
# How long it is believed whether a worker is there: probes come often, and from several sides.
_BELIEVED_SECONDS: Final = 1.0


class Service:
    """Use as a context manager: what it starts ends with the block. `settings` have its broker from then on."""

    def __init__(self, settings: Settings, jobs_root: Path) -> None:
        self.settings = settings.changed(jobs_root=jobs_root)
        self.is_own = not settings.broker_url
        self._root = jobs_root
        self._stack = ExitStack()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: WorkerFailed | None = None
        self._redis: Any = None
        self._lock = threading.Lock()
        self._looked, self._there = -_BELIEVED_SECONDS, False

    def __enter__(self) -> Self:
        """Raises BrokerUnreachable and BrokerRefuses where the broker that is given can't be used, or none started."""
        if not self.is_own:
            require_working_broker(self.settings)
            return self
        try:
            broker = self._stack.enter_context(EmbeddedBroker(self._root))
            self.settings = self.settings.changed(broker_url=broker.url)
            workers = None if self._other_worker(broker) else self._workers(broker)
        except BaseException:
            self._stack.close()
            raise
        self._thread = threading.Thread(target=self._keep, args=[broker, workers], name="keep-worker", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        if self._redis is not None:
            self._redis.close()
        self._stack.close()

    def require_ready(self) -> None:
        """Raise why searches would not be answered: the broker does not answer, or no query worker is there."""
        if self._failed is not None:
            raise self._failed
        with self._lock:
            if time.monotonic() - self._looked >= _BELIEVED_SECONDS:
                self._there, self._looked = self._is_there(), time.monotonic()
            there = self._there
        if not there:
            raise NoWorker(
                "No query worker has said yet that it is there",
                remedy=Remedy("worker", does="start one with {}, or wait for it", given={"role": "query"}),
            )

    def require_working(self) -> None:
        """Raise WorkerFailed where a worker of its own keeps dying: a search would wait for nothing."""
        if self._failed is not None:
            raise self._failed

    def comes_back(self) -> bool:
        """Wait for a worker of our own that is being started again; whether one answers then. Any thread may call it.

        Raises WorkerFailed where it keeps dying.
        """
        if not self.is_own:
            return False
        app, deadline = make_app(self.settings), time.monotonic() + _COME_BACK_SECONDS
        try:
            while not self._ending.is_set() and time.monotonic() < deadline:
                self.require_working()
                if QueryBroker(app, self.settings).has_worker():
                    return True
        finally:
            app.close()
        return False

    def _is_there(self) -> bool:
        if self._redis is None:
            self._redis = connect(self.settings, 2.0)
        try:
            return bool(announced(self._redis))
        except CONNECTION_ERRORS as error:
            raise QueryBroker(None, self.settings).unreachable(error) from None

    def _other_worker(self, broker: EmbeddedBroker) -> bool:
        """Whether a worker that someone else started takes queries, and does not end with another command."""
        if broker.started_here:
            return False
        app = make_app(self.settings)
        try:
            return QueryBroker(app, self.settings).has_worker(passing=(CHILD_PREFIX,))
        finally:
            app.close()

    def _workers(self, broker: EmbeddedBroker) -> LocalWorkers:
        return self._stack.enter_context(LocalWorkers(["query"], self.settings, broker.directory, _STOP_SECONDS))

    def _keep(self, broker: EmbeddedBroker, workers: LocalWorkers | None) -> None:
        """Start a worker of our own again when it dies, and one where the other's has gone."""
        asked = time.monotonic()
        while not self._ending.wait(_LOOK_SECONDS):
            try:
                if workers is not None:
                    for sentence in workers.watch():
                        log.warning("%s", sentence)
                elif time.monotonic() - asked >= _ASK_SECONDS:
                    asked = time.monotonic()
                    if not self._is_there():
                        workers = self._workers(broker)
            except WorkerFailed as error:
                log.error("%s", error)
                self._failed = error
                return
            except (LookalikeError, OSError) as error:
                log.warning("%s", error)
