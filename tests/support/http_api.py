"""The HTTP API around a made job, with a stand-in for the client: no broker, no worker, no socket."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from coordinator.serve.api import Api
from coordinator.serve.app import application
from coordinator.serve.endpoints.duplicates import Kept
from coordinator.serve.endpoints.events import Streams
from coordinator.serve.guard.bodies import MOST_HELD, Bodies
from coordinator.serve.guard.ending import Ending
from coordinator.serve.guard.hosts import answered_for
from coordinator.serve.guard.keys import Keys, read_keys
from coordinator.serve.guard.outgoing import Outgoing
from coordinator.serve.images.stored import Embedded, StoredImages
from coordinator.serve.metrics import Metrics
from coordinator.serve.served import Served
from coordinator.serve.work.changes import Changes
from coordinator.serve.work.fetches import Fetches
from coordinator.serve.work.searches import Searches
from shared.errors import LookalikeError
from shared.job.directory import JobDir
from shared.job.opened import OpenJob
from shared.messages.query import Query
from shared.messages.search import Answer, AnsweredBy, Hit, Searched
from shared.settings import Settings

READ_KEY, WRITE_KEY = "r" * 40, "w" * 40


def found(*hits: Hit) -> Answer:
    """What a worker answers that found some hits."""
    return Answer(hits, 1.5, answered_by=AnsweredBy("worker@here", "/jobs/photos"), searched=Searched(3, 3))


def hits(*similarities: float) -> list[Hit]:
    return [Hit(rank, rank - 1, f"/photos/{rank}.jpg", one) for rank, one in enumerate(similarities, start=1)]


@dataclass
class StandIn:
    """The clients of all threads: what they are asked, and what they answer."""

    answer: Callable[[], Answer] = field(default=lambda: found(*hits(0.9, 0.5, 0.1)))
    asked: list[tuple[Query, dict[str, Any]]] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    closed: int = 0
    changed: list[tuple[Any, ...]] = field(default_factory=list)

    def enqueue_queries(self, queries: Sequence[Query], **how: Any) -> list["_Reply"]:
        self.asked += [(query, how) for query in queries]
        return [_Reply(self)]

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> "StandIn":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def add(self, images: Any, metadata: Any, *, request: str | None, timeout: float) -> list[int]:
        self.changed.append(("add", images, metadata, request))
        return list(range(100, 100 + len(images)))

    def delete(self, ids: Sequence[int], *, timeout: float) -> int:
        self.changed.append(("delete", ids, None, None))
        return len(ids)


class _Reply:
    def __init__(self, client: StandIn) -> None:
        self._client = client

    def answer(self, timeout: float) -> Answer:
        answer = self._client.answer()
        if answer.error is not None:
            raise answer.error
        return answer

    def cancel(self) -> None:
        self._client.cancelled.set()

    def give_up(self) -> None:
        pass


@dataclass
class StandInService:
    """A service whose worker is there, unless it has an `error`."""

    settings: Settings
    error: LookalikeError | None = None
    comes_back: bool = False
    is_own: bool = True

    def require_ready(self) -> None:
        if self.error is not None:
            raise self.error

    def require_working(self) -> None:
        self.require_ready()


@dataclass
class StandInThumbnails:
    """Thumbnails that are made of nothing, or the `error` instead; `asked` has the id and the side of each."""

    error: LookalikeError | None = None
    asked: list[tuple[int, int]] = field(default_factory=list)

    async def of(self, job: OpenJob, image: Embedded, side: int) -> bytes:
        self.asked.append((image.image_id, side))
        if self.error is not None:
            raise self.error
        return b"\xff\xd8thumbnail\xff\xd9"


@dataclass
class Running:
    """A server under test: `http` asks it, `client` answers its searches."""

    http: TestClient
    client: StandIn
    service: StandInService
    api: Api
    thumbnails: "StandInThumbnails"


@contextmanager
def serving(
    job: Path,
    keys: Path | None = None,
    waiting: int = 8,
    body_seconds: float = 30.0,
    here: bool = True,
    most_held: int = MOST_HELD,
    outgoing: Outgoing | None = None,
    ending_seconds: float = 30.0,
    **settings: Any,
) -> Iterator[Running]:
    """The API for one job, or for all below `job` where that is a jobs root."""
    directory = JobDir.at(job)
    root = directory.jobs_root if directory.spec.is_file() else job
    changed = replace(Settings(jobs_root=root), **settings)
    client, service, thumbnails = StandIn(), StandInService(changed, is_own=here), StandInThumbnails()
    streams = Streams()
    searches = Searches(lambda opened: client, 2, waiting, 30.0, lambda: service.comes_back)  # type: ignore[arg-type,return-value]
    api = Api(
        served=Served(changed, directory if directory.spec.is_file() else None),
        searches=searches,
        service=service,  # type: ignore[arg-type]
        bodies=Bodies(body_seconds, most_held),
        keys=Keys(None) if keys is None else read_keys(keys),
        settings=changed,
        version="0.0.test",
        changes=Changes(lambda opened: client, here=service.is_own),  # type: ignore[arg-type,return-value]
        images=StoredImages(),
        thumbnails=thumbnails,  # type: ignore[arg-type]
        fetches=Fetches(outgoing or Outgoing(), allowed=outgoing is not None),
        streams=streams,
        kept=Kept(),
        metrics=Metrics(lambda: searches.under_way, lambda: streams.open),
        ending=Ending(ending_seconds),
    )
    app = application(api, answered_for("127.0.0.1", ["photos.example"]))
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as http:
        try:
            yield Running(http, client, service, api, thumbnails)
        finally:
            api.searches.close()
            api.fetches.close()


def key_file(folder: Path) -> Path:
    """A file with a key for reading and one for writing."""
    path = folder / "keys"
    path.write_text(f"# who has which\nphone read {READ_KEY}\n\nnas write {WRITE_KEY}\n")
    return path


def with_key(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
