"""Wrap the work of embed and merge tasks with what they share: lease, stop, trouble, progress events."""

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from celery import Task, current_task
from celery.exceptions import Reject, Retry

from shared.broker.connection import CONNECTION_ERRORS
from shared.broker.lease import Lease
from shared.broker.troubles import report_trouble
from shared.errors import AnotherJob, JobError, JobNotFound, LookalikeError, MessageError
from shared.job.directory import check_job_id
from shared.job.identity import is_identity, known_as
from shared.processes.control import Stopped
from workers.tasks.refused import end_if_refused
from workers.tasks.runtime import LatestEvent, Runtime

log = logging.getLogger("lookalike.worker")
Message = TypeVar("Message")

# A task that this worker could not do is offered again, to this worker or another, after this share of a lease: 5 to 15
# s. The time is random: workers look into their queues once a second, and of two, the one that refuses could come first
# every time.
_TROUBLE_LEASES = 0.25, 0.75
# A message of a job that was deleted, or is under a root that no worker serves, must not circulate for ever. If its
# disk comes back, the coordinator asks again.
_OFFERS_OF_A_LOST_JOB = 60


@contextmanager
def leased(task: Task, job: str, what: int | str, shown: str) -> Iterator[Lease]:
    """Hold the lease on `what` (a partition number or MERGE) of a job while the block does the work.

    `job` is the name in the keys of its leases, the message's `known_as`.

    If the block ends early, the message is given back and not lost: a stop or a broker that went away puts it back at
    once; a failure tells the coordinator why and offers it again in a few seconds. When another worker holds the lease,
    a new message is sent for later: acknowledging this one could take away the holder's protection, as a redelivered
    message keeps its delivery tag. `shown` is what Flower shows as the task's arguments.
    """
    runtime: Runtime = task.app.lookalike
    owner = task.request.hostname
    lease = Lease(runtime.client, job, what, owner, runtime.settings.lease_seconds, shown)
    try:
        taken = lease.acquire()
    except CONNECTION_ERRORS as error:
        end_if_refused(task.app, error)  # Otherwise the message would come and go here without end.
        _give_back(f"{shown}: the broker does not answer ({error}).")
    if not taken:
        log.info("%s: another worker holds it; asking again later.", shown)
        _offer_again(task, runtime.settings.lease_seconds, shown)
    with lease:
        try:
            yield lease
        except (Reject, Retry):
            raise
        except Stopped:
            _give_back(f"{shown}: stopped; what is committed stays.")
        except CONNECTION_ERRORS as error:
            _give_back(f"{shown}: the broker does not answer ({error}).")
        except (LookalikeError, OSError) as error:
            log.error("%s: %s", shown, error)
            report_trouble(runtime.client, job, owner, error)
            if isinstance(error, JobNotFound | AnotherJob) and task.request.retries >= _OFFERS_OF_A_LOST_JOB:
                log.error("%s: offered %d times for a job that is not here; dropped.", shown, task.request.retries)
                raise Reject(str(error), requeue=False) from None
            _offer_again(task, runtime.settings.lease_seconds * random.uniform(*_TROUBLE_LEASES), shown)
        except Exception as error:
            log.exception("%s failed in a way that lookalike has no sentence for.", shown)
            report_trouble(runtime.client, job, owner, _unforeseen(error))
            _offer_again(task, runtime.settings.lease_seconds * random.uniform(*_TROUBLE_LEASES), shown)


def _unforeseen(error: Exception) -> str:
    first_line = (str(error).splitlines() or [""])[0]
    shortened = first_line if len(first_line) <= 200 else first_line[:200] + " …"
    return f"{type(error).__name__}: {shortened} (the worker's log has it all)."


def _give_back(reason: str) -> NoReturn:
    log.info(reason)
    raise Reject(reason, requeue=True)


def _offer_again(task: Task, seconds: float, shown: str) -> NoReturn:
    try:
        # It retries without limit: the tasks are declared with max_retries=None, as None given here means the default
        # of 3.
        retry = task.retry(countdown=seconds, argsrepr=shown, throw=False)
    except CONNECTION_ERRORS as error:
        _give_back(f"{shown}: the broker does not answer ({error}).")
    raise retry


def received(from_json: Callable[[dict[str, Any]], Message], table: dict[str, Any]) -> Message:
    """The message that a task was sent, read by its `from_json`; one that makes no sense is refused."""
    try:
        return from_json(table)
    except MessageError as error:
        refuse(error)


def refuse(error: MessageError) -> NoReturn:
    """Log and drop a message that this version can't accept.

    The coordinator of the job that it names is told too, or it would send the message for ever without saying why.
    """
    request = current_task.request
    job = _named_job(request.args)
    log.error("Refused a message for %s: %s", job or "no job", error)
    if job is not None:
        report_trouble(current_task.app.lookalike.client, job, request.hostname, error)
    raise Reject(str(error), requeue=False)


def _named_job(arguments: Any) -> str | None:
    """The name in the lease keys of the job in a task's arguments, of any version; None when no valid job is named."""
    try:
        identity = arguments[0].get("identity")
        return known_as(check_job_id(arguments[0]["job"]), identity if is_identity(identity) else None)
    except (JobError, LookupError, TypeError, AttributeError):
        return None


@contextmanager
def progress_events(task: Task) -> Iterator[Callable[[object], None]]:
    """Yield a function that shows a text as the task's live result in Flower, at no cost to the task."""
    app, hostname = task.app, task.request.hostname
    # The event carries name and arguments: a Flower that was started later has not seen them.
    known = {"uuid": task.request.id, "name": task.name, "args": str(task.request.argsrepr or "")}

    def send(text: str) -> Any:
        with app.events.default_dispatcher(hostname=hostname) as dispatcher:
            dispatcher.send("task-progress", result=text, retry=False, **known)

    events = LatestEvent(send)
    try:
        yield events.put
    finally:
        events.close()
