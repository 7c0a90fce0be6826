"""What the endpoints of a server share: jobs, searches, keys and settings."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from coordinator.serve.guard.bodies import Bodies
from coordinator.serve.guard.ending import Ending
from coordinator.serve.guard.keys import Keys
from coordinator.serve.images.stored import StoredImages
from coordinator.serve.images.thumbnails import Thumbnails
from coordinator.serve.metrics import Metrics
from coordinator.serve.problems import Refused
from coordinator.serve.served import Served
from coordinator.serve.work.changes import Changes
from coordinator.serve.work.fetches import Fetches
from coordinator.serve.work.searches import Searches
from coordinator.serve.work.service import Service
from shared.settings import Settings

if TYPE_CHECKING:
    from coordinator.serve.endpoints.duplicates import Kept
    from coordinator.serve.endpoints.events import Streams


@dataclass(frozen=True, slots=True)
class Api:
    """The server as its endpoints see it."""

    served: Served
    searches: Searches
    service: Service
    bodies: Bodies
    keys: Keys
    settings: Settings
    version: str
    changes: Changes
    images: StoredImages
    thumbnails: Thumbnails
    fetches: Fetches
    streams: "Streams"
    kept: "Kept"
    metrics: Metrics
    ending: Ending


Endpoint = Callable[[Api, Request], Awaitable[Response]]


def image_id_of(request: Request) -> int:
    """The image id in the path of a request; raises Refused with 404 for what can be none."""
    text = request.path_params["id"]
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise Refused(404, f"{text[:80]!r} is no image id: those are whole numbers from 0.")
    return int(text)
