"""Features that are damaged, left over or of something else are found, and repair removes them alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.integrity.findings import Checked, Finding, Kind
from coordinator.integrity.repair import repair
from coordinator.integrity.verify import verify
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.partition.features.wanted import want_features
from shared.job.partition.retry import Retry, take_back_seal
from tests.support.damage import DAMAGES, age, snapshot
from tests.support.featured import seal_featured, stored
from tests.support.make_job import make_job


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of 60 images in three partitions, all with features."""
    job = make_job(tmp_path / "job", sealed=[]).job
    want_features(job)
    for number in range(3):
        seal_featured(job, number, failed=[3], without=[4])
    return job


def found(job: OpenJob) -> dict[str, Finding]:
    # The path lists of a made job are not those that its digest is of.
    return {finding.path: finding for finding in verify(job, Checked()) if finding.path != "job.json"}


@pytest.fixture(autouse=True)
def of_any_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are made up here, and the digest of their source with them."""
    monkeypatch.setattr("coordinator.sources.listing.PathDigest.hexdigest", lambda digest: "0" * 64)


def test_a_whole_job_has_no_finding_and_its_features_are_checked(job: OpenJob) -> None:
    before, checked = snapshot(job.path), Checked()
    assert list(verify(job, checked)) == []
    assert checked.files == len(before)
    assert checked.bytes == sum(map(len, before.values()))


# Zero bytes behind a marker are waited for, as a mount may show a name before all its bytes.
@pytest.mark.parametrize(
    ("which", "damage"),
    [
        (which, damage)
        for which in ("table", "data", "marker")
        for damage in DAMAGES
        if (which, damage) != ("marker", "longer")
    ],
)
def test_damage_is_named_and_repair_takes_the_features_away_and_nothing_else(
    job: OpenJob, which: str, damage: str
) -> None:
    before = snapshot(job.path)
    expected = stored(job)
    table, data = job.features_files(1)
    path = {"table": table, "data": data, "marker": job.features_seal(1)}[which]
    DAMAGES[damage](path)
    (finding,) = found(job).values()
    lost = which == "marker" and damage == "deleted"
    assert finding.kind is (Kind.LEFTOVER if lost else Kind.DAMAGE)
    if lost:
        assert "an hour old" in finding.sentence
        for one in (table, data):
            age(one)
    else:
        assert "the next indexing makes them again" in finding.sentence
    outcomes = list(repair(job, Checked()))
    assert [outcome.mended for outcome in outcomes] == [True]
    theirs = {str(one) for one in (table, data, job.features_seal(1))}
    assert snapshot(job.path) == {name: content for name, content in before.items() if name not in theirs}
    assert stored(job) == {image: one for image, one in expected.items() if not 25 <= image < 50}
    assert found(job) == {}


def _other_version(job: OpenJob) -> None:
    _edit(job, version="others")


def _other_embeddings(job: OpenJob) -> None:
    _edit(job, embeddings="0" * 64)


def _edit(job: OpenJob, **values: object) -> None:
    path = job.features_seal(1)
    path.write_text(json.dumps(json.loads(path.read_text()) | values, indent=2) + "\n")


def _other_count(job: OpenJob) -> None:
    _edit(job, without={"vanished": 3})


def _unsealed(job: OpenJob) -> None:
    job.seal(1).unlink()


@pytest.mark.parametrize(
    ("act", "kind", "said", "removed"),
    [
        (_other_version, Kind.LEFTOVER, "made as 'others'", False),
        (_other_embeddings, Kind.LEFTOVER, "of other embeddings", True),
        (_other_count, Kind.DAMAGE, "the marker says 3", True),
        (_unsealed, Kind.LEFTOVER, "count for nothing", True),
    ],
)
def test_features_that_count_for_nothing_are_named(
    job: OpenJob, act: Callable[[OpenJob], None], kind: Kind, said: str, *, removed: bool
) -> None:
    act(job)
    finding = found(job)["ledger/0001.features.json"]
    assert finding.kind is kind
    assert said in finding.sentence
    assert bool(finding.remedy) is removed


def test_features_that_a_retry_keeps_are_no_finding(job: OpenJob) -> None:
    take_back_seal(job, Retry(ledger.read_seal(job, 0), frozenset([3]), frozenset()))
    assert found(job) == {}


def test_features_of_no_partition_are_left_over(job: OpenJob) -> None:
    for path in job.features_files(7):
        path.write_bytes(b"x")
    assert "It belongs to no partition yet" in found(job)["features/features_0007.npy"].sentence
    for path in job.features_files(7):
        age(path)
    assert found(job)["features/features_0007.npy"].remedy == "removed"
    assert [outcome.mended for outcome in repair(job, Checked())] == [True]
    assert job.features_numbers() == [0, 1, 2]


def test_what_says_that_features_are_wanted_is_checked_too(job: OpenJob) -> None:
    job.features_wanted.write_text("{}\n")
    finding = found(job)["features/wanted.json"]
    assert finding.kind is Kind.DAMAGE
    assert "copies=on asks for features again" in finding.sentence
    assert [outcome.mended for outcome in repair(job, Checked())] == [True]
    assert found(job) == {}
