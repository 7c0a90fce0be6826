"""The one place that builds the Celery app at import: `celery -A workers.app worker -Q embed`."""

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


@signals.worker_init.connect(weak=False)
def _on_start(**_: Any) -> None:
    follow_parent(os.environ)


@signals.worker_shutting_down.connect(weak=False)
def _on_stop(**_: Any) -> None:
    app.lookalike.stopping.set()
