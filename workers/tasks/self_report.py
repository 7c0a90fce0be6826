"""Report a worker's clock, queues, version and timeouts when it is asked."""

import time
from importlib.metadata import version
from typing import Any

from celery.worker.control import inspect_command

from shared.messages.tasks import SELF_REPORT


@inspect_command(name=SELF_REPORT, default_timeout=1.0)
def self_report(state: Any, **_: Any) -> dict[str, Any]:
    """`time` in seconds since 1970 by this machine's clock, and facts that must be the same in all workers or are of
    interest.
    """
    settings = state.app.lookalike.settings
    consumer = state.consumer.task_consumer
    return {
        "time": time.time(),
        "version": version("lookalike"),
        "queues": sorted(queue.name for queue in consumer.queues) if consumer else [],
        "lease_seconds": settings.lease_seconds,
        "visibility_timeout": settings.visibility_timeout,
    }
