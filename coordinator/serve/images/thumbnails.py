"""Give thumbnails: out of the cache, or made by a query worker."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from coordinator.client.sent_queries import QueryBroker, SentQueries
from coordinator.client.shard_queries import Groups
from coordinator.serve.images.cache import ThumbnailCache
from coordinator.serve.images.stored import Embedded
from coordinator.serve.problems import Refused
from shared.broker.connection import CONNECTION_ERRORS, make_app
from shared.errors import LookalikeError
from shared.job.opened import OpenJob
from shared.messages.tasks import QUERY_QUEUE, THUMBNAIL_TASK
from shared.messages.thumbnail import MakeThumbnail, thumbnail_from_json
from shared.settings import Settings

_THREADS: Final = 4
_MOST_WAITING: Final = 512
_SECONDS: Final = 60.0


class Maker:
    """Asks query workers for thumbnails, in one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app = make_app(settings)
        self._groups = Groups(settings)
        self.is_used = False

    def made(self, message: MakeThumbnail) -> bytes:
        """The JPEG. Raises what the worker raises, and as `SentQueries.reply` does."""
        held = self._groups.now()  # Each that holds some shards of the index has the whole job.
        queue = held[message.image % len(held)].queue if held else QUERY_QUEUE
        broker = QueryBroker(self._app, self._settings, queue)
        options = {"retry": False, "expires": _SECONDS, "queue": queue, "argsrepr": f"{message.job} {message.image}"}
        try:
            result = self._app.send_task(THUMBNAIL_TASK, args=[message.to_json()], **options)
        except CONNECTION_ERRORS as error:
            raise broker.unreachable(error) from None
        sent = SentQueries(broker, result, 0, lambda sent: None)
        try:
            return thumbnail_from_json(sent.reply(_SECONDS))
        finally:
            sent.give_up()

    def close(self) -> None:
        self._groups.close()
        self._app.close()


class Thumbnails:
    """Gives thumbnails, many at once; what one client leaves unread, the next gets out of the cache."""

    def __init__(self, settings: Settings, cache: ThumbnailCache) -> None:
        self._settings, self._cache = settings, cache
        self._pool = ThreadPoolExecutor(_THREADS, "thumbnail")
        self._local = threading.local()
        self._makers: list[Maker] = []
        self._lock = threading.Lock()
        self._waiting = 0

    async def of(self, job: OpenJob, image: Embedded, side: int) -> bytes:
        """The JPEG of an image, its longer side at most `side` pixels. Raises Refused with 429 where too many wait, and
        as `Maker.made` does."""
        key = f"{image.sha256}-{side}-{job.manifest.model.decode}{'-bundle' if job.manifest.bundle else ''}"
        with self._lock:
            if self._waiting >= _MOST_WAITING:
                raise Refused(429, f"{self._waiting} thumbnails are being made: try again.", {"Retry-After": "1"})
            self._waiting += 1
        future = self._pool.submit(self._made, job, image, side, key)
        future.add_done_callback(lambda done: self._ended())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Give up what waits, and close the makers that no thread uses any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for maker in [one for one in self._makers if not one.is_used]:
            with suppress(LookalikeError, OSError, RuntimeError):
                maker.close()

    def _made(self, job: OpenJob, image: Embedded, side: int, key: str) -> bytes:
        found = self._cache.get(key)
        if found is not None:
            return found
        maker: Maker | None = getattr(self._local, "maker", None)
        if maker is None:
            maker = self._local.maker = Maker(self._settings)
            with self._lock:
                self._makers.append(maker)
        maker.is_used = True
        try:
            made = maker.made(MakeThumbnail(job.job_id, image.image_id, side, image.sha256, job.manifest.identity))
        finally:
            maker.is_used = False
        self._cache.put(key, made)
        return made

    def _ended(self) -> None:
        with self._lock:
            self._waiting -= 1
