"""Give what a job knows of an image, a thumbnail of it, and its file."""

from typing import Any, Final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from coordinator.jobs.source.named_images import image_facts
from coordinator.serve.api import Api, image_id_of
from coordinator.serve.guard.dropped import unless_dropped
from coordinator.serve.images import sent
from coordinator.serve.images.stored import Embedded
from coordinator.serve.problems import Refused
from coordinator.serve.served import path_of
from shared.job.opened import OpenJob

_YEAR: Final = 365 * 24 * 3600
# An image is shown, and nothing in it is run.
_INERT: Final = {"Content-Security-Policy": "default-src 'none'; sandbox"}


async def image(api: Api, request: Request) -> Response:
    """The row of an image."""
    return JSONResponse(await run_in_threadpool(_facts, api, request.path_params["job"], image_id_of(request)))


async def thumbnail(api: Api, request: Request) -> Response:
    """A small JPEG of an image."""
    side = int(request.state.values["w"])
    job, found = await run_in_threadpool(_embedded, api, request)
    headers = _INERT | {"Cache-Control": _keeping(job, request.state.values["v"])}
    tag = f'"{found.sha256}-{side}"'
    if sent.has_it(request.headers, tag):
        return sent.unchanged(tag, headers)
    data = await unless_dropped(request, api.thumbnails.of(job, found, side))
    return Response(data, media_type="image/jpeg", headers=headers | {"ETag": tag})


async def file(api: Api, request: Request) -> Response:
    """The file of an image, or a range of its bytes."""
    job, found = await run_in_threadpool(_embedded, api, request)
    # A bundle may give a thumbnail where the photo is not: those are other bytes.
    tag = f'"{found.sha256}{"-bundle" if job.manifest.bundle else ""}"'
    headers = _INERT | {"Cache-Control": _keeping(job, request.state.values["v"])}
    if sent.has_it(request.headers, tag):
        return sent.unchanged(tag, headers)
    data = await run_in_threadpool(api.images.read, job, found)
    kind = sent.kind_of(data)
    headers["Content-Disposition"] = "inline" if kind != sent.BYTES else f"attachment; filename=image-{found.image_id}"
    return sent.answer(data, kind, tag, request.headers, headers)


def links(job: OpenJob, image_id: int) -> dict[str, str]:
    """The paths of an image in the API; an id means one image for ever, so what is behind them can be kept."""
    path = f"{path_of(job.job_id)}/images/{image_id}"
    version = f"v={quote(job.manifest.identity)}"
    return {"image": path, "thumbnail": f"{path}/thumbnail?w=256&{version}", "file": f"{path}/file?{version}"}


def _facts(api: Api, job_id: str, image_id: int) -> dict[str, Any]:
    job = api.served.open(job_id)
    if image_id >= job.listed:
        raise Refused(404, f"The job has the image ids 0 to {job.listed - 1:,}, and none is {image_id:,}.")
    facts = {name: _plain(value) for name, value in image_facts(job, image_id).items()}
    return facts | {"links": links(job, image_id)}


def _plain(value: Any) -> Any:
    """A value of the metadata as JSON holds it: numbers that are none as null, dates as text."""
    if isinstance(value, float) and value - value != 0:
        return None
    return value if isinstance(value, bool | int | float | str | type(None)) else str(value)


def _embedded(api: Api, request: Request) -> tuple[OpenJob, Embedded]:
    job = api.served.open(request.path_params["job"])
    version = request.state.values["v"]
    if version is not None and version != job.manifest.identity:
        raise Refused(404, "The job was made anew since this address was given.")
    return job, api.images.require(job, image_id_of(request))


def _keeping(job: OpenJob, version: str | None) -> str:
    """What a client may keep: with the version of the job in its address for ever, without only as long as it asks."""
    return "private, no-cache" if version is None else f"private, max-age={_YEAR}, immutable"
