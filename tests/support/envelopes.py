"""Messages as Celery puts them into Redis."""

from typing import Any

from shared.messages.tasks import EMBED_TASK


def envelope(**headers: Any) -> dict[str, Any]:
    return {
        "body": "W10=",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": EMBED_TASK, "id": "task-1", "eta": None, "timelimit": [None, None], "retries": 0} | headers,
        "properties": {
            "delivery_tag": "tag-1",
            "delivery_info": {"exchange": "", "routing_key": "embed"},
            "body_encoding": "base64",
            "priority": 0,
        },
    }
