"""Show the groups of duplicates that a job keeps, as far as a search for duplicates found them out."""

import threading
from contextlib import ExitStack
from typing import Any, Final, NoReturn

from cachetools import LRUCache
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from coordinator.jobs.runs.duplicates.found import Found
from coordinator.jobs.runs.duplicates.run import Asked
from coordinator.jobs.runs.duplicates.run import duplicates as find_duplicates
from coordinator.serve.api import Api
from coordinator.serve.problems import Refused
from shared.errors import UsageError
from shared.job.opened import OpenJob
from shared.settings import Settings

_KEPT: Final = 2


class Kept:
    """The groups of the jobs that were last asked for; a page of them does not group them anew."""

    def __init__(self) -> None:
        self._found: LRUCache[Any, Found] = LRUCache(_KEPT)
        self._lock = threading.Lock()

    def of(self, job: OpenJob, settings: Settings, kind: str | None, similarity: float | None) -> Found:
        """The groups. Raises Refused with 409 where not all was compared that has to be, and as `duplicates` does."""
        files = [path for what in ("neighbours", "compared", "rejected") for path in job.duplicates_files(what)]
        key = (job.path, job.manifest.identity, job.state.number, kind, similarity, tuple(sorted(map(str, files))))
        with self._lock:  # Grouping takes all of a core: one at a time.
            if key not in self._found:
                asked = Asked(job, settings, kind, similarity, _refuse)
                self._found[key] = find_duplicates(asked, lambda event: None)
            return self._found[key]


async def duplicates(api: Api, request: Request) -> Response:
    """A page of the groups."""
    return JSONResponse(await run_in_threadpool(_page, api, request.path_params["job"], request.state.values))


def _page(api: Api, job_id: str, values: dict[str, Any]) -> dict[str, Any]:
    cursor = values["cursor"] or "0"
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 12):
        raise UsageError(f"cursor is {cursor[:80]!r}; expected `next` of the page before.")
    first = int(cursor)
    found = api.kept.of(api.served.open(job_id), api.settings, values["kind"], values["similarity"])
    stop = first + values["limit"]
    table = found.to_json() | {"groups": [group.to_json() for group in found.groups[first:stop]]}
    return table | {"count": len(found.groups), "next": str(stop) if stop < len(found.groups) else None}


def _refuse(stack: ExitStack, job: OpenJob, settings: Settings, role: str) -> NoReturn:
    raise Refused(
        409,
        "Not all images of the job were compared that have to be for this: search it for duplicates of this kind "
        "first, and again when it grew.",
    )
