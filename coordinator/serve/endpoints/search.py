"""Search a job for the images most like an upload, a vector or an image of its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from coordinator.client.queries import as_query
from coordinator.client.stored_query import stored_query
from coordinator.display.hits import search_json
from coordinator.serve.api import Api
from coordinator.serve.declared.operations import QUERY_FIELDS, SEARCH_FIELDS
from coordinator.serve.declared.operations import SEARCH_PARTS as PARTS
from coordinator.serve.endpoints.images import links
from coordinator.serve.guard.bodies import FORM, JSON, kind_of
from coordinator.serve.guard.dropped import unless_dropped
from shared.errors import UsageError
from shared.job.opened import OpenJob
from shared.messages.filter import Filter
from shared.messages.query import Query
from shared.messages.search import Answer
from shared.messages.verified import PROVEN, Verify


async def search(api: Api, request: Request) -> Response:
    """The hits of one query."""
    image: bytes | None = None
    if kind_of(request, (FORM, JSON)) == FORM:
        values, uploads = await api.bodies.form(request, PARTS, api.settings.max_query_bytes)
        image, name = uploads[0].data, "image"
    else:
        values = await api.bodies.json(request, (*QUERY_FIELDS, *SEARCH_FIELDS))
        name = _named(values)
        if values["vector"] is not None:  # A list takes ten times as much, and may wait for long beside many others.
            with np.errstate(over="ignore"):  # What no float32 holds is infinite, and refused as that.
                values["vector"] = np.array(values["vector"], np.float64).astype(np.float32)
    how = {
        "k": values["k"],
        "exact": values["exact"],
        "filter": Filter.of(values.pop("ids"), values["where"]),  # A list of a million is not kept while it waits.
        "partial": values["partial"],
        "verify": Verify.of(values["verify"], values["views"]),
    }

    asked: list[OpenJob] = []
    if image is None and values["url"] is not None:
        image = await unless_dropped(request, api.fetches.of(values["url"], api.settings.max_query_bytes))

    def made() -> tuple[OpenJob, Query]:
        api.service.require_working()
        job = api.served.open(request.path_params["job"])
        asked.append(job)
        return job, _query(api, job, values, image)

    answer = await unless_dropped(request, api.searches.ask(made, how))
    answer, left_out = _similar_enough(answer, values["min_similarity"])
    (found,) = search_json([name], [answer])
    hits: Any = found["hits"]
    for hit in hits:
        hit |= links(asked[0], hit["id"])
    if left_out is not None:
        found["left_out"] = left_out
    return JSONResponse(found)


def _named(values: Mapping[str, Any]) -> str:
    given = [field.name for field in QUERY_FIELDS if values[field.name] is not None]
    if len(given) != 1:
        names = ", ".join(field.name for field in QUERY_FIELDS)
        raise UsageError(f"The search has {len(given)} of {names}; expected just one, or the form with an image.")
    return f"image {values['image_id']}" if given == ["image_id"] else given[0]


def _query(api: Api, job: OpenJob, values: Mapping[str, Any], image: bytes | None) -> Query:
    if image is not None:
        return as_query(image, api.settings.max_query_bytes)
    if values["image_id"] is not None:
        return stored_query(job, str(values["image_id"]))
    return as_query(values["vector"])


def _similar_enough(answer: Answer, least: float | None) -> tuple[Answer, int | None]:
    """The answer without hits that are less similar and not proven, and how many those were."""
    if least is None:
        return answer, None
    hits = tuple(hit for hit in answer.hits if hit.similarity >= least or hit.verdict in PROVEN)
    return replace(answer, hits=hits), len(answer.hits) - len(hits)
