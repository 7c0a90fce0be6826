"""Describe a job: its columns to filter by, its failed images by reason, and its index."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from coordinator.serve.api import Api
from coordinator.serve.endpoints.measured import measured
from shared.job.index import builds
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.partition.ledger import Seal
from shared.job.source.moved import read_moved
from shared.storage.parquet import read_schema, read_table

_HIDDEN = frozenset({"id", "image_path", "sha256"})
"""Columns that a filter can name, and that no person filters by."""


async def describe_job(api: Api, request: Request) -> Response:
    """What a job is made of, and how it did."""
    return JSONResponse(await run_in_threadpool(_described, api, request.path_params["job"]))


def _described(api: Api, job_id: str) -> dict[str, Any]:
    job = api.served.open(job_id)
    seals = list(ledger.sealed(job))
    info = builds.current_info(job)
    return {
        "id": job_id,
        "model": job.manifest.model.name,
        "fusion": None if job.manifest.fusion is None else str(job.manifest.fusion),
        "urls": api.fetches.are_allowed,
        "columns": _columns(job, seals),
        "failed": _failed(job, seals),
        "index": None if info is None else measured(job, info),
    }


def _columns(job: OpenJob, seals: Sequence[Seal]) -> list[dict[str, str]]:
    """The columns of the metadata, those that a filter is most likely about first; none before anything is sealed."""
    if not seals:
        return []
    schema = read_schema(job.metadata(seals[0].partition))
    return [{"name": field.name, "type": _type(field.type)} for field in schema if field.name not in _HIDDEN]


def _type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)


def _failed(job: OpenJob, seals: Sequence[Seal]) -> list[dict[str, Any]]:
    """The failed images of sealed partitions that are not removed: how many of each status, and one of them."""
    moved, found = read_moved(job), dict[str, dict[str, Any]]()
    for seal in seals:
        if not seal.failed:
            continue
        for row in read_table(job.errors(seal.partition)).to_pylist():
            if job.state.is_removed(row["id"]):
                continue
            entry = found.setdefault(row["status"], {"status": row["status"], "images": 0})
            entry["images"] += 1
            if entry["images"] == 1:
                path = moved.now(row["image_path"])
                entry["example"] = {"id": row["id"], "image_path": path, "reason": row["error_message"] or ""}
    return sorted(found.values(), key=lambda entry: (-entry["images"], entry["status"]))
