"""`lookalike export`, and what the other commands say of a bundle."""

import json
import re
from pathlib import Path

import pytest

from shared.job.opened import OpenJob
from tests.support.bundles import bundle_of
from tests.support.cli import Run
from tests.support.damage import snapshot
from tests.support.source_jobs import all_paths, job_of_a_list

pytestmark = pytest.mark.slow


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of 60 images, two of which failed, with an index."""
    return job_of_a_list(tmp_path, index=True)


@pytest.fixture
def bundle(job: OpenJob, tmp_path: Path) -> OpenJob:
    return bundle_of(job, tmp_path / "bundle")


def test_it_says_what_the_bundle_takes_and_is_worth(run: Run, job: OpenJob) -> None:
    ran = run("export", job.path, "a bundle")
    assert ran.status == 0, ran.err
    size, worth, search = ran.out.splitlines()
    assert re.fullmatch(r"58 images in .*/a bundle: .* kB \(codes .*, index .*, other .*\), \d+ bytes an image", size)
    assert re.match(r"recall@10 [01]\.\d{3} \(58 queries\) against the exact answers of the job, 99 of 100", worth)
    assert search.startswith("Search it:  lookalike search '")
    ran = run("export", job.path, "a bundle")
    assert (ran.status, ran.out) == (1, "")
    assert "a bundle is there already, and is a bundle of the job" in ran.err


def test_status_says_what_it_is_of(run: Run, job: OpenJob, bundle: OpenJob) -> None:
    ran = run("status", bundle.path)
    assert ran.status == 0, ran.err
    lines = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert re.fullmatch(
        rf"a bundle of the job {job.path}, made 20.* UTC by lookalike .*; no thumbnails, .* kB", lines["bundle"]
    )
    assert lines["images"] == "60 listed, 58 embedded, 2 failed, 0 pending"
    assert lines["similarity"].startswith("99 of 100 similarities within 0.00")
    told = json.loads(run("status", bundle.path, "--json").out)
    assert told["bundle"]["job"] == str(job.path)
    assert "files" not in told["bundle"]
    assert json.loads(run("status", job.path, "--json").out)["bundle"] is None


def test_without_what_was_removed(run: Run, job: OpenJob, tmp_path: Path) -> None:
    assert run("delete", job.path, "3", "8", "9").status == 0
    bundle = bundle_of(job.renewed(), tmp_path / "bundle")
    out = run("status", bundle.path).out
    assert re.search(r"^images +57 listed, 56 embedded, 1 failed, 0 pending$", out, re.M), out
    assert ", without the 3 that were removed; no thumbnails" in out
    assert re.search(r"^rate +done$", out, re.M)
    assert json.loads(run("show", bundle.path, "8", "--json").out)["status"] == "removed"


def test_what_changes_a_job_is_refused_and_changes_nothing(run: Run, bundle: OpenJob, tmp_path: Path) -> None:
    before = snapshot(bundle.path)
    photos = str(tmp_path / "photos.txt")
    for command in (
        ["delete", bundle.path, "3"],
        ["delete", bundle.path, "3", "--dry-run"],
        ["add", bundle.path, tmp_path / "photo.jpg"],
        ["compact", bundle.path],
        ["compact", bundle.path, "--dry-run"],
        ["index", bundle.path],
        ["index", photos, bundle.path, "--add"],
        ["index", photos, bundle.path],
        ["index", photos, bundle.path, "--moved"],
        ["retry", bundle.path],
        ["repair", bundle.path],
        ["rollback", bundle.path],
        ["evaluate", bundle.path],
        ["export", bundle.path, tmp_path / "second"],
    ):
        ran = run(*command)
        assert (ran.status, ran.out) == (1, ""), command
        assert re.search(r"bundle is a bundle of the job .*, made 20.* UTC: it is for searching, and can't be", ran.err)
        assert "Do that with the job itself, and export it again." in ran.err
    assert snapshot(bundle.path) == before


def test_show_says_when_an_image_is_not_there(run: Run, job: OpenJob, bundle: OpenJob) -> None:
    ran = run("show", bundle.path, "7", "-o", "found.jpg")
    assert ran.status == 1
    assert "The file was listed, but is no longer there." in ran.err
    assert f"The bundle {bundle.path} has no thumbnails." in ran.err
    assert json.loads(run("show", bundle.path, all_paths(job)[7], "--json").out)["id"] == 7
