"""Define the tasks of the query role, thin around `answer.Answerer`."""

import logging
import threading
from typing import TYPE_CHECKING, Any

from celery import Task, shared_task
from celery.worker import state

from shared.errors import LookalikeError, MessageError, QueryError, SettingsError
from shared.errors.remedy import Remedy
from shared.messages.search import Answer, AnsweredBy, SearchJob, reply_to_json
from shared.messages.shards import Held
from shared.messages.tasks import QUERY_QUEUE, SEARCH_TASK, THUMBNAIL_TASK
from shared.messages.thumbnail import MakeThumbnail, failed_to_json, made_to_json
from shared.settings import Settings
from workers.tasks.runtime import Runtime

if TYPE_CHECKING:
    from workers.search.answer import Answerer

log = logging.getLogger("lookalike.query")

_answerer: "Answerer | None" = None
_making = threading.Lock()


@shared_task(name=SEARCH_TASK, bind=True, acks_late=False)
def search(task: Task, table: dict[str, Any]) -> dict[str, Any]:
    """Answer the queries of one message; an error travels in the reply, as its kind and its sentence.

    A message that means another job of that name is answered with AnotherJob: this worker can't know whether another
    worker of the queue has the right one.

    It is acknowledged at once, unlike the other tasks: by the time a dead worker's query came back, no client would
    wait for it.
    """
    runtime: Runtime = task.app.lookalike
    if task.request.id in state.revoked:
        # Celery asks before it hands a task to a thread, and this one may have waited for that thread since.
        taken_back = Answer(error=QueryError("The search was taken back before a worker began it."))
        return reply_to_json([taken_back] * _queries_in(table, runtime.settings.max_queries))
    try:
        message = SearchJob.from_json(table, runtime.settings.max_queries, runtime.settings.max_query_bytes)
    except MessageError as error:
        log.error("Refused a message: %s", error)
        return reply_to_json([Answer(error=error)] * _queries_in(table, runtime.settings.max_queries))
    try:
        _require_queue(runtime.settings, task.request.delivery_info["routing_key"])
        job = runtime.job(message.job, message.identity)
        answers = _the_answerer(runtime).answer(job, message)
        return reply_to_json(answers, AnsweredBy(task.request.hostname, str(job.path)))
    except LookalikeError as error:
        log.error("%s: %s", message.job, error)
        return reply_to_json([Answer(error=error)] * len(message.queries))


@shared_task(name=THUMBNAIL_TASK, bind=True, acks_late=False)
def make_thumbnail(task: Task, table: dict[str, Any]) -> dict[str, Any]:
    """Make a thumbnail of an image of a job; an error travels in the reply, as that of a search does."""
    runtime: Runtime = task.app.lookalike
    try:
        message = MakeThumbnail.from_json(table)
        return made_to_json(_the_answerer(runtime).thumbnails.of(runtime.job(message.job, message.identity), message))
    except LookalikeError as error:
        log.error("Made no thumbnail: %s", error)
        return failed_to_json(error)


def _require_queue(settings: Settings, queue: str) -> None:
    """Raise SettingsError where a worker that holds some shards takes the queries of those who hold others, or all."""
    own = QUERY_QUEUE if settings.shards is None else Held.parsed(settings.shards).queue
    if queue != own:
        held = "all shards" if settings.shards is None else f"the shards {settings.shards}"
        raise SettingsError(
            f"A worker that holds {held} took a query from the queue {queue}, and its answer would lack what others "
            "hold or be given twice",
            remedy=Remedy("worker", does="start it with {}", given={"role": "query", "shards": "FIRST-LAST"}),
        )


def _queries_in(table: Any, most: int) -> int:
    """How many answers a refused message gets: one for each query of a client, one for a message that no client
    sends.
    """
    queries = table.get("queries") if isinstance(table, dict) else None
    return len(queries) if isinstance(queries, list) and 0 < len(queries) <= most else 1


def _the_answerer(runtime: Runtime) -> "Answerer":
    # The import is here because only the process that answers needs FAISS and OpenCV, not each that knows the task's
    # name.
    from workers.search.answer import Answerer

    global _answerer
    with _making:
        if _answerer is None:
            _answerer = Answerer(runtime.settings)
        return _answerer
