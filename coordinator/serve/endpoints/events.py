"""Tell how far a job is as it happens: server-sent events."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from coordinator.jobs.progress import ProgressReader
from coordinator.serve.api import Api
from coordinator.serve.problems import Refused
from shared.errors import LookalikeError
from shared.job.local.job_files import JobFiles

_MOST: Final = 64
_LOOK_SECONDS: Final = 0.25
_ALIVE_SECONDS: Final = 15.0
_RETRY_MILLISECONDS: Final = 2_000


class Streams:
    """The streams of events that are open, which end with the server."""

    def __init__(self) -> None:
        self.open = 0
        self.are_ending: Callable[[], bool] = lambda: False


async def events(api: Api, request: Request) -> Response:
    """The status of a job now and whenever it changed, until the client goes away."""
    job = await run_in_threadpool(api.served.open, request.path_params["job"])
    if api.streams.open >= _MOST:
        raise Refused(429, f"{_MOST} streams of events are open, and no more are: ask for the status instead.")
    seconds = JobFiles.of(job, api.settings).look_seconds
    return StreamingResponse(_told(api, job.job_id, seconds), media_type="text/event-stream")


async def _told(api: Api, job_id: str, seconds: float) -> AsyncIterator[str]:
    api.streams.open += 1
    try:
        yield f"retry: {_RETRY_MILLISECONDS}\n\n"
        reader, last, told_at = None, "", time.monotonic()
        while not api.streams.are_ending():
            try:
                # One reader sees the rate. A job that was made anew has another.
                job = await run_in_threadpool(api.served.open, job_id)
                if reader is None or reader.job.manifest.identity != job.manifest.identity:
                    reader = ProgressReader(job)
                told = json.dumps((await run_in_threadpool(reader.read)).to_json())
            except (LookalikeError, Refused, OSError) as error:
                yield _event("problem", {"detail": str(error), "kind": type(error).__name__})
                return
            if told != last:
                last, told_at = told, time.monotonic()
                yield f"event: progress\ndata: {told}\n\n"
            elif time.monotonic() - told_at >= _ALIVE_SECONDS:
                told_at = time.monotonic()
                yield ": nothing new\n\n"
            looked = time.monotonic()
            while time.monotonic() - looked < seconds and not api.streams.are_ending():
                await asyncio.sleep(_LOOK_SECONDS)
    finally:
        api.streams.open -= 1


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
