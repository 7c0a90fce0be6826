"""Read and decode a stream of images ahead in threads, in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2

from shared.errors import SettingsError

Item = TypeVar("Item")
Read = TypeVar("Read")

# A broken image is a row of the job, not a line on stderr.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def stream_images(
    locations: Iterable[Item], *, read: Callable[[int, Item], Read], threads: int, ahead: int
) -> Generator[Read]:
    """Read and decode the images at `locations` in `threads` threads, and yield the results in that order.

    `read` is called in those threads with the position of an image, from 0, and its location; it ends in `read_image`.
    At most `ahead` images are being decoded or wait for the caller, so memory is bounded and `locations` is pulled
    lazily. Closing the iterator drops what waits, and returns when the threads have ended. Raises SettingsError for
    `threads` or `ahead` below 1, and whatever `read` raises.
    """
    if threads < 1 or ahead < 1:
        raise SettingsError(f"Decoding was asked for {threads} threads and {ahead} images ahead; expected at least 1.")
    return _stream(enumerate(locations), read, threads, ahead)


def _stream(
    locations: Iterator[tuple[int, Item]], read: Callable[[int, Item], Read], threads: int, ahead: int
) -> Generator[Read]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[Future[Read]] = deque()

    def pull() -> None:
        for place, location in locations:
            waiting.append(pool.submit(read, place, location))
            if len(waiting) >= ahead:
                return

    try:
        pull()
        while waiting:
            image = waiting.popleft().result()
            pull()
            yield image
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
