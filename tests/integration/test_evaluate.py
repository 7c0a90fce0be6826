"""`lookalike index` measures accuracy on altered copies before it promotes, and `lookalike evaluate` measures again."""

import json
from pathlib import Path

import cv2
import pytest

from shared.job.altered_copies import read_copies
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.calibration import PUBLISHED, UNALTERED
from tests.integration.faults.faults import Faults
from tests.support.processes import environment, run
from workers.images.alterations import MEASURED

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def job(few_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> JobDir:
    """A job of sixty photographs, made by one `lookalike index` with the light model."""
    base = tmp_path_factory.mktemp("evaluated")
    job = JobDir.at(base / "jobs" / "few")
    job.jobs_root.mkdir()
    done = run(
        "index", few_photos, job.path, env=environment() | Faults(base / "faults").environment(light=True, copies=48)
    )
    assert done.returncode == 0, done.stderr
    return job


def test_the_index_is_promoted_with_its_accuracy_on_altered_copies(job: JobDir) -> None:
    copies = read_copies(job)
    assert copies is not None
    assert (len(copies), copies.images) == (288, 48)
    info = builds.current_info(job)
    assert info is not None
    assert tuple(info.accuracy_at_10) == MEASURED
    assert info.accuracy_copies == 48
    assert info.accuracy_at_10["half size"] == 1.0
    assert info.accuracy_at_10["flip"] < 1.0, "the light model knows left from right"


def test_verify_finds_the_job_whole(job: JobDir) -> None:
    verified = run("verify", job.path, "--json")
    assert verified.returncode == 0, verified.stdout
    assert json.loads(verified.stdout)["findings"] == []


def test_evaluate_measures_the_same_accuracy_and_draws_the_sweep(job: JobDir, tmp_path: Path) -> None:
    plot = tmp_path / "sweep.png"
    done = run("evaluate", job.path, "--json", "--plot", plot, "--queries", "40")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    info = builds.current_info(job)
    assert info is not None
    assert (found["images"]["embedded"], found["queries"], found["recall_at_10"]) == (60, 40, 1.0)
    assert {row["alteration"]: row["at_10"] for row in found["accuracy"]["by_alteration"]} == info.accuracy_at_10
    assert found["accuracy"]["exact_at_10"] == found["accuracy"]["at_10"]
    # Its own copies are compared with their originals and with others; sixty images are too few for chances.
    verdicts = found["verdicts"]
    assert (verdicts["copies"], verdicts["images"], verdicts["strangers"], verdicts["false"]) == (48, 8, 144, 0)
    # All that have the same pixels; the others have few points in smooth fields of colour.
    assert verdicts["proven"] >= 4 * 8
    assert [row["alteration"] for row in verdicts["by_alteration"]] == [UNALTERED, *MEASURED]
    assert (found["chances"]["measured"], found["chances"]["images"]) == (PUBLISHED, 60)
    assert "60 images, and 200 are needed" in found["chances"]["reason"]
    assert [point["promoted"] for point in found["sweep"]].count(True) == 1
    assert cv2.imread(str(plot)) is not None
    table = run("evaluate", job.path, "--queries", "40")
    assert table.returncode == 0, table.stderr
    assert "altered copies proven" in table.stdout
    assert json.loads((job.jobs_root / "few-evaluation.json").read_text())["images"] == found["images"]
