"""A job is described: what it can be filtered by, what failed and why, and its index."""

from pathlib import Path

import jsonschema

from coordinator.serve.declared.operations import OPERATIONS
from tests.support.builds import build
from tests.support.http_api import serving
from tests.support.make_job import make_job


def test_failed_images_are_counted_by_reason_with_one_of_each(tmp_path: Path) -> None:
    make_job(tmp_path / "photos", failed=(3, 4, 30))
    with serving(tmp_path / "photos") as running:
        told = running.http.get("/v1/jobs/photos").json()
    (operation,) = [one for one in OPERATIONS if one.name == "describe_job"]
    jsonschema.validate(told, operation.reply.schema())
    (failed,) = told["failed"]
    assert failed["images"] == 3
    assert failed["example"]["id"] == 3
    assert failed["example"]["reason"]
    assert told["index"] is None
    assert {"name": "width", "type": "number"} in told["columns"]
    assert not {"id", "image_path"} & {column["name"] for column in told["columns"]}


def test_a_job_without_a_sealed_partition_has_no_columns_yet(tmp_path: Path) -> None:
    make_job(tmp_path / "photos", sealed=())
    with serving(tmp_path / "photos") as running:
        told = running.http.get("/v1/jobs/photos").json()
    assert told["columns"] == told["failed"] == []


def test_the_index_says_what_it_was_measured_to_do(tmp_path: Path) -> None:
    made = make_job(tmp_path / "photos")
    info = build(made.job)
    with serving(tmp_path / "photos") as running:
        index = running.http.get("/v1/jobs/photos").json()["index"]
    assert (index["build"], index["type"], index["ntotal"]) == (info.build, info.type, info.ntotal)
    assert (index["recall_at_10"], index["p50_ms"]) == (info.recall_at_10, info.p50_ms)


def test_a_job_that_is_not_there_is_not_described(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    with serving(tmp_path / "photos") as running:
        assert running.http.get("/v1/jobs/other").status_code == 404
