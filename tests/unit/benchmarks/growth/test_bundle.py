"""The benchmark of bundles, over a job of vectors: a bundle of it is smaller, and its recall is measured."""

from pathlib import Path

import pytest

from benchmarks.growth.bundle import measured
from shared.job.opened import open_job
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.make_job import clustered, make_job
from workers.merge.build import merge

pytestmark = pytest.mark.slow


def test_bytes_an_image_and_recall_of_a_bundle_are_measured(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", clustered(600, 64), partition_size=500, chunk_size=500)
    merge(open_job(made.job), Settings(), UNWATCHED)
    found = measured(made.job, tmp_path, [0])
    (bundle,) = found["bundles"]
    assert found["images"] == 600
    assert found["job_bytes_an_image"]["embeddings"] >= 64 * 2
    assert bundle["bytes_an_image"] < found["job_bytes_an_image"]["all"]
    assert 0.9 <= bundle["recall_at_10"] <= 1
