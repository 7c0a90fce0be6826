"""Get a command what it needs: a broker that answers, and workers of its own if there are no others."""

import time
from contextlib import ExitStack
from dataclasses import dataclass

from coordinator.client.client import Client
from coordinator.client.sent_queries import PING_SECONDS
from coordinator.local.broker import EmbeddedBroker
from coordinator.local.workers import CHILD_PREFIX, LocalWorkers
from shared.broker.connection import require_working_broker
from shared.broker.url import redacted
from shared.job.directory import JobDir
from shared.settings import ANY_MODEL, Settings, broker_origin

# A question that comes before the worker listens is lost, and is asked again after this time at first, later after a
# quarter of the time that the worker has taken so far, as one on a busy machine needs longer to answer too.
_FIRST_PING_SECONDS = 0.1


def named_broker(settings: Settings, typed: str | None) -> str:
    """The broker of `settings` without its secrets, and what names it: "redis://HOST/0 (from REDIS_URL)".

    `typed` is the --broker of the command. "" if no broker is given and an embedded one serves.
    """
    if not settings.broker_url:
        return ""
    return f"{redacted(settings.broker_url)} (from {'--broker' if typed else broker_origin()})"


def workers_for_index(
    stack: ExitStack, job: JobDir, settings: Settings, roles: list[str]
) -> tuple[Settings, LocalWorkers | None]:
    """The settings with a broker that answers, and the worker processes started for it, if this command starts any.

    `roles` names the role of each of them.
    """
    if settings.broker_url:
        require_working_broker(settings)
        return settings, None
    settings = settings.changed(jobs_root=job.jobs_root)
    broker = stack.enter_context(EmbeddedBroker(job.jobs_root))
    settings = settings.changed(broker_url=broker.url)
    return settings, stack.enter_context(LocalWorkers(roles, settings, broker.directory))


@dataclass(frozen=True, slots=True)
class QueryService:
    """A client, and the query worker that was started for it, if any."""

    client: Client
    workers: LocalWorkers | None = None

    def ready(self) -> None:
        """Wait for a worker of our own to answer; start it again if it died. Raises WorkerFailed when it keeps
        dying.
        """
        if self.workers is None:
            return
        self.workers.watch()
        began = time.monotonic()
        seconds = _FIRST_PING_SECONDS
        while not self.client.has_worker(self.workers.nodes[0], seconds=seconds):
            self.workers.watch()
            seconds = min(PING_SECONDS, max(seconds, (time.monotonic() - began) / 4))

    def revive(self) -> None:
        """Start a worker of our own again if it died, and then wait for it."""
        if self.workers is not None and self.workers.watch():
            self.ready()


def client_for_search(stack: ExitStack, job: JobDir, settings: Settings) -> Client:
    """A client with a query worker behind it: a running one if there is one, else one of our own."""
    return service_for_search(stack, job, settings, Client).client


def service_for_search(stack: ExitStack, job: JobDir, settings: Settings, client_class: type[Client]) -> QueryService:
    """`client_for_search`, of any class of clients, with the worker that was started for it."""
    if settings.broker_url:
        return QueryService(stack.enter_context(client_class(job.path, settings.broker_url)))
    # Only this user reaches the broker, so its worker may run what this user names.
    settings = settings.changed(jobs_root=job.jobs_root, finer_model=ANY_MODEL)
    broker = stack.enter_context(EmbeddedBroker(job.jobs_root))
    settings = settings.changed(broker_url=broker.url)
    service = QueryService(client := stack.enter_context(client_class(job.path, broker.url)))
    if broker.started_here or not client.has_worker(passing=(CHILD_PREFIX,)):
        service = QueryService(client, stack.enter_context(LocalWorkers(["query"], settings, broker.directory)))
        service.ready()
    return service
