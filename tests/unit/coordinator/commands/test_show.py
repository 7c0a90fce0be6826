"""`lookalike show`: what a job knows of an image, and its bytes, wherever they are."""

import json
import os
from pathlib import Path

import pytest

from coordinator.client.queries import as_query
from shared.job.directory import JobDir
from tests.support.cli import Run
from tests.support.images.forms import CAPTIONS, CONTENTS, FORMS, NAMES
from tests.support.source_jobs import sealed


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
    assert run("show", shards.path, "7").err == ""
    assert opened == []
    ran = run("show", shards.path, "7", "--open")
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
    assert run("show", job.path, "0").status == 0  # What the job knows of it is there.
    ran = run("show", job.path, "0", "--open")
    assert (ran.status, "is no longer there" in ran.err) == (1, True)


def test_an_image_is_found_however_its_path_is_typed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [b"caf\xe9.jpg", b"esc\x1b[31m.jpg", b"line\nend.jpg", b"a::b.tar::c.jpg", "p lain ü.jpg".encode()]
    folder = tmp_path / "odd photos"
    folder.mkdir()
    for number, name in enumerate(names):
        (folder / os.fsdecode(name)).write_bytes(CONTENTS[NAMES[number]])
    job = JobDir(tmp_path / "my job")
    sealed(str(folder), job)
    monkeypatch.chdir(folder)
    for image_id, name in enumerate(sorted(names)):
        facts = json.loads(run("show", job.path, str(image_id), "--json").out)
        for typed in (facts["image_path"], os.fsdecode(name), os.fsdecode(os.fsencode(folder) + b"/" + name)):
            if "::" in typed and not typed.startswith("file://"):
                continue  # This names an image in an archive.
            assert json.loads(run("show", job.path, typed, "--json").out) == facts
        assert as_query(facts["image_path"]).image == (folder / os.fsdecode(name)).read_bytes()
        shown = run("show", job.path, str(image_id)).out
        assert "\x1b" not in shown
        assert len([line for line in shown.splitlines() if line.startswith("image_path")]) == 1


def test_an_image_in_an_archive_is_found_by_a_relative_path(
    run: Run, shards: JobDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "shards")
    assert json.loads(run("show", shards.path, "00001.tar::000000007.jpg", "--json").out)["id"] == 7
