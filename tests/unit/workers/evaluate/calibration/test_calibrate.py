"""What a merge measures of its build: from the job's own copies, or what was published, or nothing, and why."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared.job.altered_copies import Copies, write_copies
from shared.job.index import builds
from shared.job.index.calibration import (
    JOB,
    PUBLISHED,
    Calibration,
    VerdictRow,
    VerdictsMeasured,
    calibration_of,
    read_calibration,
)
from shared.job.local.job_files import JobFiles
from shared.job.partition import ledger
from shared.processes.control import Control, Stopped
from shared.settings import Settings
from tests.support.controls import UNWATCHED, yes
from tests.support.make_job import MadeJob, make_job, unit
from workers.evaluate.calibration import calibrate, published
from workers.evaluate.calibration.calibrate import calibrated, missed
from workers.merge.build import merge
from workers.merge.progress import MergeProgress
from workers.search.searcher import Searcher

SIZE = 240


def job_of(path: Path, images: int = SIZE, equal: int = 0) -> MadeJob:
    """Images in a few crowds, so that others are near each; the first `equal` are one image."""
    rng = np.random.default_rng(11)
    crowds = rng.normal(size=(6, 32))
    vectors = unit(crowds[rng.integers(6, size=images)] + 0.9 * rng.normal(size=(images, 32)))
    vectors[:equal] = vectors[0]
    return make_job(path, vectors, partition_size=100, chunk_size=100)


def copies_of(made: MadeJob, originals: int = 48, noise: float = 0.05) -> Copies:
    """Six copies of each of some images, near them."""
    rng = np.random.default_rng(12)
    rows = np.repeat(np.linspace(0, len(made.ids) - 1, originals).astype(np.int64), 6)
    stored = made.embeddings[rows].astype(np.float32)
    vectors = unit(stored + noise * rng.normal(size=stored.shape)).astype(np.float16)
    return Copies(
        ids=made.ids[rows],
        alterations=("a", "b", "c", "d", "e", "f") * originals,
        similarities=np.einsum("ij,ij->i", unit(vectors.astype(np.float32)), unit(stored)).astype(np.float32),
        embeddings=vectors,
        fingerprint=made.job.manifest.model.fingerprint,
        ledger_digest=builds.ledger_digest(list(ledger.sealed(made.job))),
        seed=0,
    )


def merged(made: MadeJob, copies: Copies) -> Calibration:
    write_copies(made.job, copies)
    info = merge(made.job, Settings(), UNWATCHED)
    assert info.seconds["calibrating"] >= 0
    return calibration_of(made.job, info)


def test_a_merge_measures_what_the_similarities_of_its_build_mean(tmp_path: Path) -> None:
    made = job_of(tmp_path / "job")
    found = merged(made, copies_of(made))
    assert (found.measured, found.reason) == (JOB, "")
    assert (found.images, found.copies, found.originals) == (SIZE, 288, 48)
    assert found.nothing_there < 0.1 < found.nothing_absent
    assert found.curve[0][1] < 0.05
    assert 0.9 < found.curve[-1][1] < 1
    # The images are not there: what comparing proves is what was published, and the reason is said.
    assert found.missed == pytest.approx(published.MISSED, abs=1e-4)
    assert "photos/" in found.verdicts.reason
    searcher = Searcher.open(JobFiles.of(made.job), found.build)
    assert searcher.calibration == found
    assert searcher.without(made.ids[:3], SIZE).calibration == found


def test_equal_images_are_no_strangers_and_a_job_of_nothing_else_measures_nothing(tmp_path: Path) -> None:
    made = job_of(tmp_path / "some", equal=12)
    assert merged(made, copies_of(made)).curve[-1][1] > 0.9
    every = job_of(tmp_path / "every", equal=SIZE)
    found = merged(every, copies_of(every))
    assert (found.measured, found.curve) == ("", ())
    assert "as near each other as copies are" in found.reason


@pytest.mark.parametrize(
    ("images", "originals", "why"),
    [(199, 48, "The job has 199 images, and 200 are needed."), (SIZE, 23, "23 images have altered copies, and 24")],
)
def test_a_small_job_has_what_was_published_for_its_model_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: int, originals: int, why: str
) -> None:
    made = job_of(tmp_path / "job", images)
    copies, searcher = copies_of(made, originals), Searcher.open_parts(JobFiles.of(made.job))
    other = calibrated(made.job, "0001-ab", searcher, copies, images, Settings())
    assert (other.measured, other.curve) == ("", ())
    assert why in other.reason
    assert published.FINGERPRINT in other.reason
    monkeypatch.setattr(published, "FINGERPRINT", made.job.manifest.model.fingerprint)
    found = calibrated(made.job, "0001-ab", searcher, copies, images, Settings())
    assert (found.measured, found.curve, found.bound) == (PUBLISHED, published.CURVE, published.BOUND)
    assert why in found.reason


def test_ten_images_have_nothing_whatever_their_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = job_of(tmp_path / "job", 10)
    monkeypatch.setattr(published, "FINGERPRINT", made.job.manifest.model.fingerprint)
    searcher = Searcher.open_parts(JobFiles.of(made.job))
    found = calibrated(made.job, "0001-ab", searcher, copies_of(made, 10), 10, Settings())
    assert (found.measured, found.reason) == ("", "The job has 10 images, and 200 are needed.")


def test_a_merge_that_is_stopped_while_it_calibrates_promotes_nothing_and_the_next_one_does(tmp_path: Path) -> None:
    made = job_of(tmp_path / "job")
    write_copies(made.job, copies_of(made))
    phases: list[str] = []

    def told(progress: MergeProgress) -> None:
        phases.append(progress.phase)

    with pytest.raises(Stopped):
        merge(made.job, Settings(), Control(lambda: "calibrating" not in phases, yes, told))
    assert builds.current_build(made.job) is None
    info = merge(made.job, Settings(), UNWATCHED)
    assert read_calibration(made.job, info.build, info.fingerprint).measured == JOB


def test_a_build_stands_where_nothing_can_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    made = job_of(tmp_path / "job")
    monkeypatch.setattr(calibrate, "Comparing", fails)
    found = merged(made, copies_of(made))
    assert found.measured == ""
    assert "Input/output error" in found.reason


@pytest.mark.parametrize(
    ("proven", "images", "share"),
    [
        (48, 8, lambda published: published / 2),
        (24, 8, lambda published: 0.25 + published / 2),
        (0, 0, lambda one: one),
    ],
    ids=["all", "half", "none compared"],
)
def test_what_comparing_misses_is_between_what_was_seen_and_what_was_published(
    proven: int, images: int, share: Callable[[float], float]
) -> None:
    rows = [VerdictRow("flip", 6 * images, 0, proven, 0, 0, 0, 0)] if images else []
    assert missed(VerdictsMeasured(rows, images)) == pytest.approx(share(published.MISSED), abs=1e-4)
