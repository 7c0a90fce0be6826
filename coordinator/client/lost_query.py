"""Find out whether a query is lost: taken from its queue, and held by no worker that the broker is connected to."""

from typing import Any

from shared.broker.connection import connect
from shared.broker.queues import held_tasks, listeners, queued_tasks
from shared.messages.tasks import QUERY_QUEUE
from shared.settings import Settings

_ASK_SECONDS = 1.5


def is_lost(app: Any, settings: Settings, task_id: str, queue: str = QUERY_QUEUE) -> bool:
    """Whether no worker will answer the query of a task. Its reply may be there already: look for that afterwards.

    A worker may be too busy to answer, for example while it loads a model. But its connection ends with it, and the
    broker knows how many connections there are: the query is lost only if just as many workers answer, and none has the
    task. A message that its worker had not begun comes back to the queue by itself, and is not lost. If the broker does
    not say who is connected, or another program listens as workers do, nothing is known, and the query does not count
    as lost. `app` is Celery's. Raises one of CONNECTION_ERRORS when the broker is away.
    """
    with connect(settings) as client:
        if task_id in queued_tasks(client, queue) or task_id in held_tasks(client):
            return False
        connected = listeners(client)
    if connected is None:
        return False
    # This must come last: a worker that was just taking the message from the queue reads this question after it.
    limit = {"limit": connected} if connected else {}
    told = app.control.inspect(timeout=_ASK_SECONDS, **limit).query_task(task_id) or {}
    return len(told) == connected and not any(told.values())
