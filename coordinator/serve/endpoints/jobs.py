"""Say which jobs there are, and how far one is."""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from coordinator.jobs import activity
from coordinator.jobs.progress import ProgressReader
from coordinator.serve.api import Api
from coordinator.serve.served import path_of


async def list_jobs(api: Api, request: Request) -> Response:
    """A page of the jobs, in the order of their ids."""
    values = request.state.values
    ids = await run_in_threadpool(api.served.ids)
    after = [job for job in ids if values["cursor"] is None or job > values["cursor"]]
    shown = after[: values["limit"]]
    more = shown[-1] if len(after) > len(shown) else None
    return JSONResponse({"jobs": [{"id": job, "path": path_of(job)} for job in shown], "next": more})


async def job_status(api: Api, request: Request) -> Response:
    """How far a job is, and who works on it."""
    return JSONResponse(await run_in_threadpool(_status, api, request.path_params["job"]))


def _status(api: Api, job_id: str) -> dict[str, Any]:
    job = api.served.open(job_id)
    told = activity.look(job, job.manifest.identity, api.service.settings)
    return ProgressReader(job).read().to_json() | {"broker": told.to_json()}
