"""`lookalike show`: what a job knows of an image, and its bytes, wherever they lie."""

import json
from pathlib import Path

import pytest

from shared.jobdir import JobDir
from tests.unit.conftest import Run
from tests.unit.image_forms import CAPTIONS, CONTENTS, FORMS, NAMES
from tests.unit.test_source_forms import sealed


@pytest.fixture
def shards(tmp_path: Path) -> JobDir:
    """A job of tars, as webdataset has them."""
    job = JobDir(tmp_path / "job")
    sealed(FORMS["webdataset"](tmp_path).source, job)
    return job


@pytest.mark.parametrize("named", ["7", "shards/00001.tar::000000007.jpg"])
def test_an_image_of_an_archive_is_described_and_written_out(
    run: Run,
    shards: JobDir,
    tmp_path: Path,
    named: str,
) -> None:
    asked = named if named.isdigit() else str(tmp_path / named)
    ran = run("show", shards.path, asked, "-o", tmp_path / "out" / "seventh.jpg")
    assert (ran.status, ran.err) == (0, f"written to {tmp_path}/out/seventh.jpg\n")
    assert (tmp_path / "out" / "seventh.jpg").read_bytes() == CONTENTS[NAMES[7]]
    lines = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert (lines["id"], lines["caption"], lines["similarity"]) == ("7", CAPTIONS[7], "3.5")
    assert lines["image_path"] == f"{tmp_path}/shards/00001.tar::000000007.jpg"


def test_an_image_goes_to_stdout_or_its_facts_as_json(
    run: Run,
    shards: JobDir,
    tmp_path: Path,
) -> None:
    facts = json.loads(run("show", shards.path, "8", "--json").out)
    assert (facts["id"], facts["status"]) == (8, "not-an-image")
    assert run("show", shards.path, "8", "-o", "-").out == CONTENTS[NAMES[8]].decode()
    assert run("show", shards.path, "8", "-o", "-", "--json").status == 2


def test_an_image_that_is_not_sealed_yet_shows_what_its_source_says(
    run: Run,
    shards: JobDir,
) -> None:
    for number in shards.sealed_numbers():
        shards.seal(number).unlink()
    facts = json.loads(run("show", shards.path, "3", "--json").out)
    assert (facts["status"], facts["caption"]) == ("not sealed yet", CAPTIONS[3])


def test_without_a_program_that_opens_it_the_image_lies_in_a_file(
    run: Run,
    shards: JobDir,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []

    def launch(path: str) -> int:
        opened.append(path)
        return 1

    monkeypatch.setattr("typer.launch", launch)
    ran = run("show", shards.path, "7")
    assert ran.err == f"No program opened it here; the image is {opened[0]}\n"
    assert Path(opened[0]).read_bytes() == CONTENTS[NAMES[7]]
    assert opened[0].endswith(".jpg")


@pytest.mark.parametrize(
    ("named", "sentence"),
    [("12", "has the image ids 0 to 11, and none is 12"), ("gone.jpg", "lists no image gone.jpg: give its id, or")],
)
def test_what_the_job_does_not_list_is_named(
    run: Run,
    shards: JobDir,
    named: str,
    sentence: str,
) -> None:
    ran = run("show", shards.path, named)
    assert ran.status == 1
    assert sentence in ran.err


def test_an_image_that_went_away_says_so(
    run: Run,
    tmp_path: Path,
) -> None:
    job = JobDir(tmp_path / "job")
    sealed(FORMS["folder"](tmp_path).source, job)
    (tmp_path / "photos" / NAMES[0]).unlink()
    ran = run("show", job.path, "0")
    assert (ran.status, "is no longer there" in ran.err) == (1, True)
