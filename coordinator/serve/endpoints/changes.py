"""Add uploads to a job, and remove an image from it."""

import re
from functools import partial
from typing import Final

import anyio.to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from coordinator.serve.api import Api, image_id_of
from coordinator.serve.declared.operations import ADD_PARTS, MOST_UPLOADS
from coordinator.serve.endpoints.images import links
from coordinator.serve.guard.bodies import FORM, Upload, kind_of
from coordinator.serve.images.stored import require_image
from shared.errors import UsageError
from shared.messages.changes import MOST_BYTES

_FOLDERS: Final = re.compile(r".*[/\\]")


async def add_images(api: Api, request: Request) -> Response:
    """Add the uploads of a form, all or none."""
    kind_of(request, (FORM,))
    job = await run_in_threadpool(api.served.open, request.path_params["job"])
    values, uploads = await api.bodies.form(request, ADD_PARTS, MOST_BYTES, MOST_UPLOADS)
    images = [(_name(upload), upload.data) for upload in uploads]
    # A client that goes away changes nothing: what was asked for is done, and the same request says so.
    adding = partial(api.changes.add, job, images, values["metadata"], values["request"])
    ids = await anyio.to_thread.run_sync(adding, limiter=api.changes.limiter)
    job = await run_in_threadpool(api.served.open, job.job_id)
    return JSONResponse({"ids": ids, "images": [links(job, one)["image"] for one in ids]}, 201)


async def delete_image(api: Api, request: Request) -> Response:
    """Remove an image from all answers."""
    image_id = image_id_of(request)
    job = await run_in_threadpool(api.served.open, request.path_params["job"])
    require_image(job, image_id)
    await run_in_threadpool(api.changes.delete, job, image_id)
    return JSONResponse({"removed": image_id})


def _name(upload: Upload) -> str:
    """The name of an upload without the folders that some clients send; raises UsageError where it has none."""
    name = _FOLDERS.sub("", upload.name, count=1)
    if not name:
        raise UsageError("A file of the form has no name: give it one, as its image will be called so.")
    return name
