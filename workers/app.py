"""Create the Celery app at import, for `python -m workers` and for `celery -A workers.app`."""

import logging
import os
from contextlib import suppress
from typing import Any

from celery import signals

from shared.broker.connection import CONNECTION_ERRORS, make_app
from shared.broker.lease import release_owner
from shared.processes.lean import be_lean
from shared.settings import load_settings
from shared.storage import home
from workers.tasks import logs, self_report
from workers.tasks.holding import announce_while_running
from workers.tasks.runtime import Runtime, WakesAtSignals, follow_parent
from workers.tasks.transport.connection import GuardedConnection
from workers.tasks.transport.refusal import longest_body

be_lean()
if (without_home := home.lend()) is not None:
    logging.getLogger("lookalike.worker").warning(without_home)
settings = load_settings()
app = make_app(
    settings,
    include=["workers.tasks.embed", "workers.tasks.merge", "workers.tasks.search"],
)
app.lookalike = Runtime(settings)
app.amqp.Connection = GuardedConnection
app.conf.broker_transport_options["search_body"] = longest_body(settings.max_query_bytes, settings.max_queries)
app.conf.worker_consumer = "workers.tasks.refused:Consumer"
app.steps["consumer"].update((logs.BrokerSeen, WakesAtSignals))
logs.install(settings.broker_url)
assert self_report.self_report  # Importing it makes the worker answer.


@signals.worker_init.connect(weak=False)
def _on_start(sender: Any, **_: Any) -> None:
    follow_parent(os.environ)
    # The worker that had this name before has ended: what it held is free at once. If it lives after all, because two
    # have one name, it takes its lease again with its next beat.
    with suppress(*CONNECTION_ERRORS):
        release_owner(app.lookalike.client, sender.hostname)


@signals.worker_ready.connect(weak=False)
def _on_ready(sender: Any, **_: Any) -> None:
    announce_while_running(app.lookalike, [queue.name for queue in sender.task_consumer.queues])


@signals.worker_shutting_down.connect(weak=False)
def _on_stop(**_: Any) -> None:
    app.lookalike.stopping.set()
