"""Say how the server is, and what it offers."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from coordinator.serve.api import Api
from coordinator.serve.declared.openapi import document
from coordinator.serve.declared.operations import EVERYWHERE, OPERATIONS
from coordinator.serve.declared.pages import STYLE, docs_page, home_page
from coordinator.serve.metrics import CONTENT_TYPE
from coordinator.serve.problems import kind_of, kinds
from coordinator.serve.served import path_of


async def health(api: Api, request: Request) -> Response:
    """That the server runs."""
    return JSONResponse({"status": "ok"})


async def ready(api: Api, request: Request) -> Response:
    """Whether a query worker is there."""
    await run_in_threadpool(api.service.require_ready)
    return JSONResponse({"status": "ready"})


async def metrics(api: Api, request: Request) -> Response:
    """What Prometheus reads."""
    return Response(api.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


async def openapi(api: Api, request: Request) -> Response:
    """The API for programs."""
    return JSONResponse(document(OPERATIONS, api.version))


async def docs(api: Api, request: Request) -> Response:
    """The API for people."""
    return HTMLResponse(docs_page(OPERATIONS, kinds() | _refusals(), api.version))


def _refusals() -> dict[str, tuple[int, str]]:
    """The kinds of problems that are the server's own, each with its status and when it comes."""
    statuses = {status: when for operation in OPERATIONS for status, when in operation.refuses.items()} | EVERYWHERE
    return {kind_of(status): (status, when) for status, when in sorted(statuses.items())}


async def style(api: Api, request: Request) -> Response:
    """The style of the pages."""
    return Response(STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


async def home(api: Api, request: Request) -> Response:
    """The jobs and the docs."""
    ids = None if api.keys.are_needed else await run_in_threadpool(api.served.ids)
    jobs = None if ids is None else [(job, path_of(job)) for job in ids]
    return HTMLResponse(home_page(jobs, api.version))
