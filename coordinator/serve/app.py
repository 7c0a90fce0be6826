"""Make the ASGI application: a route for each declared operation, behind its key, with problems for all errors."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from coordinator.serve.api import Api, Endpoint
from coordinator.serve.declared.fields import of_pairs
from coordinator.serve.declared.operation import Operation
from coordinator.serve.declared.operations import OPERATIONS
from coordinator.serve.endpoints import (
    about,
    changes,
    decisions,
    described,
    duplicates,
    events,
    images,
    jobs,
    search,
)
from coordinator.serve.guard.front import Front
from coordinator.serve.page import assets
from coordinator.serve.problems import ClientGone, Refused, problem, refusal
from shared.errors import LookalikeError

log = logging.getLogger("lookalike.http")

ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "search": search.search,
    "list_jobs": jobs.list_jobs,
    "decisions": decisions.decisions,
    "decide_duplicates": decisions.decide_duplicates,
    "describe_job": described.describe_job,
    "job_status": jobs.job_status,
    "job_events": events.events,
    "duplicates": duplicates.duplicates,
    "image": images.image,
    "thumbnail": images.thumbnail,
    "file": images.file,
    "add_images": changes.add_images,
    "delete_image": changes.delete_image,
    "health": about.health,
    "ready": about.ready,
    "metrics": about.metrics,
    "openapi": about.openapi,
    "docs": about.docs,
    "style": about.style,
    "home": about.home,
}
"""What answers each operation, by its name."""


def application(api: Api, hosts: frozenset[str]) -> ASGIApp:
    """The whole application, which answers for `hosts`."""
    by_path: dict[str, list[Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, []).append(operation)
    routes = [*(_route(api, path, operations) for path, operations in by_path.items()), assets.route()]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _not_here})
    app.router.redirect_slashes = False  # The redirect would be to whatever Host the client named.
    return Front(app, hosts, api.metrics.seen)


def _route(api: Api, path: str, operations: Sequence[Operation]) -> Route:
    of_method = {operation.method: operation for operation in operations}

    async def answer(request: Request) -> Response:
        operation = of_method["GET" if request.method == "HEAD" else request.method]
        return await _answered(api, request, operation)

    return Route(path, answer, methods=list(of_method))


async def _answered(api: Api, request: Request, operation: Operation) -> Response:
    request_id = request.state.request_id
    request.state.operation = operation.name
    try:
        request.state.key = api.keys.require(_authorization(request), operation.scope)
        request.state.values = of_pairs(operation.query, request.query_params.multi_items())
        try:
            return await api.ending.answered(ENDPOINTS[operation.name](api, request))
        finally:
            api.bodies.release(request)
    except Refused as error:
        return refusal(error, request_id)
    except LookalikeError as error:
        return problem(error, request_id)
    except ClientGone:
        return Response(status_code=499)
    except Exception:
        log.exception("%s: %s failed", request_id, operation.name)
        return refusal(
            Refused(500, "The server failed to answer; its log says where, under the id of this request."), request_id
        )


def _authorization(request: Request) -> str | None:
    """The header with the key; None where there are several, of which a proxy may have looked at another."""
    given = request.headers.getlist("authorization")
    return given[0] if len(given) == 1 else None


async def _not_here(request: Request, error: Any) -> Response:
    what = {
        404: f"There is no {request.url.path[:200]!r} here; GET /docs says what there is.",
        405: f"{request.method[:20]} is no method of this path.",
    }
    detail = what.get(error.status_code, "The request can't be answered.")
    return refusal(Refused(error.status_code, detail, error.headers), request.state.request_id)
