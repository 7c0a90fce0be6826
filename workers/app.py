"""The one place that builds the Celery app at import: `celery -A workers.app worker -Q embed`."""

import logging
import os
from typing import Any

from celery import signals

from shared.broker import make_app
from shared.settings import load_settings
from workers.runtime import Runtime, follow_parent

settings = load_settings()
app = make_app(
    settings,
    include=["workers.embed_worker", "workers.merge_worker", "workers.query_worker"],
)
app.lookalike = Runtime(settings)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Let a rejected task take one line in the log: giving a message back is what a stop is expected to do."""
    if isinstance(record.args, dict) and record.args.get("description") == "rejected":
        record.exc_info = record.exc_text = None
    return True


@signals.worker_init.connect(weak=False)
def _on_start(**_: Any) -> None:
    logging.getLogger("celery.app.trace").addFilter(_without_traceback)
    follow_parent(os.environ)


@signals.worker_shutting_down.connect(weak=False)
def _on_stop(**_: Any) -> None:
    app.lookalike.stopping.set()
