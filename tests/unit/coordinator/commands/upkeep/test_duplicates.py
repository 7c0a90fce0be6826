"""`lookalike duplicates`: what it prints and writes, and what it refuses."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from shared.job.index.duplicates.rejected import read_rejected
from shared.job.opened import OpenJob
from tests.support.cli import Run
from tests.support.duplicates import WorkHere, encoded, photo_job, vector_job, work_here
from tests.support.images.scenes import resized, scene
from tests.support.make_job import clustered, make_job

pytestmark = pytest.mark.slow


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> WorkHere:
    return work_here(monkeypatch)


@pytest.fixture
def photos(tmp_path: Path) -> OpenJob:
    """A picture, its half in size, a larger page with it, and another picture, twice in the same bytes."""
    one, other = scene(1, 480, 400), scene(2, 480, 400)
    page = scene(3, 700, 600) // 8 + 220
    page[100:580, 100:500] = one
    files = {"a.png": encoded(one), "b.jpg": encoded(resized(one, 200, 240), ".jpg"), "c.png": encoded(other)}
    return photo_job(tmp_path, files | {"d.png": encoded(other), "e.jpg": encoded(page, ".jpg")})


def test_it_prints_groups_with_their_verdicts_and_says_that_nothing_was_deleted(
    run: Run, here: WorkHere, photos: OpenJob
) -> None:
    ran = run("duplicates", photos.path)
    assert ran.status == 0, ran.err
    first, kept, *others = ran.out.splitlines()
    assert first == "group 1  ·  3 images"
    assert kept.startswith("keep  4  600 x 700, ")
    assert ": most pixels  " in kept
    assert kept.endswith("e.jpg")
    assert any("same picture, cropped (" in line and line.endswith("a.png") for line in others)
    assert "group 2  ·  2 images" in others
    assert "2 groups among 5 images (kind picture, similarity from 0.5): 3 images beside those to be kept." in ran.err
    assert "Nothing was deleted." in ran.err


def test_json_and_parquet_hold_the_same_groups(run: Run, here: WorkHere, photos: OpenJob, tmp_path: Path) -> None:
    ran = run("duplicates", photos.path, "--json", "--parquet", "found.parquet")
    assert ran.status == 0, ran.err
    found = json.loads(ran.out)
    assert [group["keep"] for group in found["groups"]] == [4, 2]
    rows = pq.read_table(tmp_path / "found.parquet").to_pylist()
    assert [row["id"] for row in rows] == [image["id"] for group in found["groups"] for image in group["images"]]


def test_keep_best_lists_the_paths_that_can_go_and_none_that_shows_more(
    run: Run, here: WorkHere, tmp_path: Path
) -> None:
    one = scene(1, 480, 400)
    page = scene(3, 350, 300) // 8 + 220
    page[60:300, 50:250] = resized(one, 200, 240)
    job = photo_job(tmp_path, {"a.png": encoded(one), "b.jpg": encoded(one, ".jpg"), "c.png": encoded(page)})
    ran = run("duplicates", job.path, "--keep", "best")
    assert ran.out.splitlines() == [str(tmp_path / "photos" / "b.jpg")]
    assert "1 image is not in the list, as it shows more than the one to keep, or the same in more pixels." in ran.err


def test_rejected_pairs_are_remembered_and_gone_from_the_groups(
    run: Run, here: WorkHere, photos: OpenJob, tmp_path: Path
) -> None:
    assert run("duplicates", photos.path, "--reject", "2", "3").out == "1 pair is not shown as duplicates any more.\n"
    (tmp_path / "pairs.txt").write_text("0, 4\n\n1 4 0\n")
    ran = run("duplicates", photos.path, "--reject-file", "pairs.txt")
    assert ran.out == "3 pairs are not shown as duplicates any more.\n"
    assert read_rejected(photos) == {(2, 3), (0, 4), (1, 4), (0, 1)}
    again = run("duplicates", photos.path, "--reject", "3", "2")
    assert again.out == "These were rejected before: nothing changed.\n"
    ran = run("duplicates", photos.path)
    assert (ran.status, ran.out) == (0, "")
    assert "No duplicates among 5 images" in ran.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--kind", "equal"),
            "There is no kind 'equal' of duplicates; expected one of bytes, pixels, picture, similar.",
        ),
        (("--similarity", "2"), "from 0.5 to 1"),
        (("--parquet", "table"), "a file that ends in .parquet, and table does not"),
        (("--html", "page.txt"), "a file that ends in .html, and page.txt does not"),
        (("--html", "there.html"), "there.html is there already: remove it, or choose another name."),
        (("--parquet", "nowhere/t.parquet"), "there is no directory"),
        (("--parquet", "s3://bucket/t.parquet"), "is in a store: give it a path here"),
        (("--keep", "worst"), "--keep best is the only choice there is, not 'worst'"),
        (("--keep", "best", "--json"), "--keep prints paths, and --json one object"),
        (("--keep", "best", "--kind", "similar"), "may show different things"),
        (("2", "3"), "with --reject they are no duplicates"),
        (("--reject", "2"), "expected the ids of two or more images"),
        (("--reject", "2", "photo.jpg"), "expected the ids of two or more images"),
        (("--reject", "2", "5000"), "The job has the image ids 0 to 4, not 5000: nothing was rejected."),
        (("--reject", "2", "3", "--reject-file", "there.html"), "in one way"),
        (("--reject-file", "missing.txt"), "can't be read"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_done(
    run: Run, here: WorkHere, photos: OpenJob, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "there.html").write_text("mine")
    ran = run("duplicates", photos.path, *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert sentence in ran.err
    assert here.parts == []
    assert read_rejected(photos) == set()
    assert (tmp_path / "there.html").read_text() == "mine"


def test_a_job_that_has_no_index_or_no_images_says_so(run: Run, here: WorkHere, tmp_path: Path) -> None:
    ran = run("duplicates", make_job(tmp_path / "job").job.path)
    assert ran.status == 1
    assert "has no index yet" in ran.err
    assert run("duplicates", tmp_path / "nothing").status == 1
    vectors = vector_job(tmp_path / "v", clustered(20, 16)).path
    ran = run("duplicates", vectors, "--keep", "best")
    assert ran.status == 2
    ran = run("duplicates", vectors, "--kind", "picture")
    assert ran.status == 2
    assert "was made of vectors, and has no images to be compared" in ran.err


def test_the_report_has_thumbnails_of_the_images(run: Run, here: WorkHere, photos: OpenJob, tmp_path: Path) -> None:
    ran = run("duplicates", photos.path, "--html", "report.html")
    assert ran.status == 0, ran.err
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 5
    assert f"report: {tmp_path / 'report.html'}" in ran.err
