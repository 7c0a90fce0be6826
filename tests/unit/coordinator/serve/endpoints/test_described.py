"""A job is described: what it can be filtered by, what failed and why, and its index."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from coordinator.serve.declared.operations import OPERATIONS
from coordinator.serve.guard.outgoing import Outgoing
from shared.job.index.calibration import UNMEASURED
from shared.models.fusion import FusionTrial
from tests.support.builds import build
from tests.support.http_api import serving
from tests.support.make_job import make_job

EVALUATION: dict[str, Any] = {
    "build": {"name": "0007-0badcafe"},
    "machine": {"cores": 2},
    "recall_at_10": 0.99,
    "queries": 100,
    "p50_ms": 0.5,
    "p99_ms": 1,
    "batch": 64,
    "queries_per_second": 1000.5,
    "accuracy": {"copies": 0, "reason": "There are no copies."},
    "verdicts": {"copies": 0, "reason": "Nothing was compared."},
    "sweep": [{"nprobe": 2, "depth": 50, "recall_at_10": None, "p50_ms": 0.5, "p99_ms": 1.5, "promoted": True}],
}
"""As far as it is read."""


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
    assert index["evaluation"] is None
    assert index["verdicts"]["copies"] == 0
    assert index["chances"]["reason"] == UNMEASURED


@pytest.mark.parametrize(
    "broken",
    [
        "{",
        "[]\n",
        "{}",
        '"text"',
        "with p50_ms NaN",
        "with p50_ms 1e999",
        'with p50_ms "fast"',
        "with p50_ms true",
        'with sweep [{"nprobe": 1}]',
        "with sweep 7",
        'with verdicts {"copies": 1, "by_alteration": [{}]}',
    ],
)
def test_an_evaluation_that_is_none_is_a_sentence_and_hides_nothing_else(tmp_path: Path, broken: str) -> None:
    made = make_job(tmp_path / "photos")
    build(made.job)
    text = broken
    if match := re.fullmatch(r"with (\w+) (.*)", broken):
        whole = EVALUATION | {match[1]: "HERE"}
        text = json.dumps(whole).replace('"HERE"', match[2])
    made.job.evaluation.write_text(text)
    with serving(tmp_path / "photos") as running:
        reply = running.http.get("/v1/jobs/photos")
    assert reply.status_code == 200
    (said,) = reply.json()["index"]["evaluation"].items()
    assert said[0] == "reason"
    assert "photos-evaluation.json is not what an evaluation of this version writes" in said[1]


def test_an_evaluation_says_of_which_build_it_is_and_no_more_than_is_shown(tmp_path: Path) -> None:
    made = make_job(tmp_path / "photos")
    info = build(made.job)
    made.job.evaluation.write_text(json.dumps(EVALUATION | {"secret": "of another file"}))
    with serving(tmp_path / "photos") as running:
        index = running.http.get("/v1/jobs/photos").json()["index"]
    assert (index["build"], index["evaluation"]["build"]) == (info.build, "0007-0badcafe")
    assert index["evaluation"]["sweep"] == EVALUATION["sweep"]
    assert "secret" not in json.dumps(index)


def test_it_says_whether_urls_are_fetched_and_what_came_of_fusion(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    for outgoing in (None, Outgoing()):
        with serving(tmp_path / "photos", outgoing=outgoing) as running:
            told = running.http.get("/v1/jobs/photos").json()
        assert told["urls"] is (outgoing is not None)
        assert told["fusion"] is None
    trial = FusionTrial(kept=True, images=260, copies=720, plain=0.9, fused=0.95)
    manifest = json.loads((tmp_path / "photos" / "job.json").read_text())
    (tmp_path / "photos" / "job.json").write_text(json.dumps(manifest | {"fusion": trial.to_json()}))
    with serving(tmp_path / "photos") as running:
        assert running.http.get("/v1/jobs/photos").json()["fusion"] == str(trial)


def test_a_job_that_is_not_there_is_not_described(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    with serving(tmp_path / "photos") as running:
        assert running.http.get("/v1/jobs/other").status_code == 404
