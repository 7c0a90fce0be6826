"""Keep what a person decides about groups of duplicates, and say what was decided."""

from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from coordinator.jobs.runs.duplicates import rejecting
from coordinator.serve.api import Api
from coordinator.serve.declared.duplicates import DECISION_FIELDS
from coordinator.serve.guard.bodies import JSON, kind_of
from coordinator.serve.work.writing import writing
from shared.errors import UsageError
from shared.job.bundle.facts import refuse_bundle
from shared.job.index.duplicates.decided import Decided, decide, read_decided


async def decisions(api: Api, request: Request) -> Response:
    """The groups of which it was decided which image to keep, each with the last word."""
    return JSONResponse(await run_in_threadpool(_decided, api, request.path_params["job"]))


async def decide_duplicates(api: Api, request: Request) -> Response:
    """Remember which of some duplicates is to be kept, or that they are none."""
    kind_of(request, (JSON,))
    values = await api.bodies.json(request, DECISION_FIELDS)
    return JSONResponse({"new": await run_in_threadpool(_remember, api, request.path_params["job"], values)})


def _decided(api: Api, job_id: str) -> dict[str, Any]:
    last = {group.images: group for group in read_decided(api.served.open(job_id))}
    return {"kept": [group.to_json() for group in last.values()]}


def _remember(api: Api, job_id: str, values: Mapping[str, Any]) -> int:
    job = api.served.open(job_id)
    images = sorted(set(values["images"] or ()))
    if len(images) < 2:
        raise UsageError("images holds fewer than two different ids: a decision is about a group of duplicates.")
    if values["keep"] is None:
        with writing(job):
            return rejecting.reject(job, [images])
    refuse_bundle(job.path, job.manifest.bundle, "changed")
    if values["keep"] not in images:
        raise UsageError(f"keep is {values['keep']}, which is none of images: name the one of them to be kept.")
    if images[0] < 0 or images[-1] >= job.listed:
        raise UsageError(
            f"The job has the image ids 0 to {job.listed - 1}, and images holds another: nothing was kept."
        )
    with writing(job):
        return decide(job, [Decided(values["keep"], tuple(images))])
