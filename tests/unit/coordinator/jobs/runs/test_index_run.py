import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from coordinator.jobs.progress import Progress, ProgressReader
from coordinator.jobs.reconcile import Look
from coordinator.jobs.runs import loop
from coordinator.jobs.runs.events import STOPPING, Doing, Event, Finished, Said, Step
from coordinator.jobs.runs.index_run import Asked, index
from coordinator.sources.choosing import Choice
from shared.errors import JobError, JobMismatch, JobNotFound, SourceError, UsageError
from shared.job.changes.lock import changing
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.job.partition.features.record import STORED_VERSION
from shared.job.partition.features.wanted import wanted_features
from shared.settings import Settings
from tests.support.progress import DONE, EMBEDDED, NEW, SEALED, UNDER_WAY


def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *acts: Any) -> tuple[Asked, list[Event]]:
    """What is asked of a run over three images, and the list that takes what it tells; each step does one of `acts`."""
    (tmp_path / "photos").mkdir(exist_ok=True)
    for name in "abc":
        (tmp_path / "photos" / f"{name}.jpg").touch()

    def steps(job: OpenJob, settings: Settings, workers: Any) -> Iterator[Step]:
        for act in acts:
            act()
            yield Step(Look(DONE), [])

    monkeypatch.setattr(loop, "run_job", steps)
    monkeypatch.setattr(loop, "workers_for_index", lambda stack, job, settings, roles: (settings, None))
    return Asked(str(tmp_path / "photos"), JobDir.at(tmp_path / "job"), Settings()), []


def test_a_run_tells_what_it_does_in_order_and_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None, lambda: None)
    assert index(asked, told.append) == DONE
    assert [type(event) for event in told] == [Doing, Doing, Said, Step, Step, Finished]
    assert told[:2] == [Doing("Listing images …"), Doing("Listing images … 3 so far")]
    assert told[-1] == Finished(DONE)
    assert capfd.readouterr() == ("", "")
    (tmp_path / "photos" / "new.jpg").touch()
    told.clear()
    index(asked, told.append)
    assert [type(event) for event in told] == [Doing, Said, *[Step] * 2, *[Doing] * 2, Said, *[Step] * 2, Finished]
    assert told[4:7] == [
        Doing("Comparing the source with what was listed …"),
        Doing("Comparing the source with what was listed … 3 so far"),
        Said("1 new"),
    ]
    assert open_job(asked.job).listed == 4


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (UNDER_WAY, "17,500 of 100,000 images were done before; going on with the others."),
        (replace(UNDER_WAY, listed=100_500, purged=500), "17,500 of 100,000 images were done before; going on"),
        (SEALED, "100,000 of 100,000 images were done before; going on with the index."),
        (EMBEDDED, "100,000 of 100,000 images were done before; going on with sealing them."),
        (NEW, None),
        (DONE, None),
    ],
    ids=["some", "some of what was compacted", "all", "all and one not sealed", "none", "the index too"],
)
def test_a_run_that_goes_on_says_how_much_was_done_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: Progress, said: str | None
) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    index(asked, told.append)
    assert not any("done before" in str(event) for event in told), "of a new job there is nothing to say"
    monkeypatch.setattr(ProgressReader, "read", lambda self: before)
    told.clear()
    index(asked, told.append)
    found = [event.sentence for event in told if isinstance(event, Said) and "done before" in event.sentence]
    assert [sentence[: len(said or "")] for sentence in found] == ([] if said is None else [said])


def test_a_frozen_job_takes_up_nothing_and_says_what_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    index(replace(asked, frozen=True), told.append)
    (tmp_path / "photos" / "new.jpg").touch()
    index(asked, told.append)
    assert isinstance(told[-1], Said)
    assert told[-1].sentence.startswith("This job holds what was listed when it was made.")
    assert asked.job.change_numbers() == []
    other = replace(asked, job=JobDir(tmp_path / "other"))
    index(other, told.append)
    with pytest.raises(JobMismatch, match="leave the option frozen out"):
        index(replace(other, frozen=True), told.append)


def test_what_can_not_be_compared_is_an_error_behind_what_the_job_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    index(asked, told.append)
    for path in (tmp_path / "photos").iterdir():
        path.unlink()
    told.clear()
    with pytest.raises(SourceError, match="3 of the 3 images"):
        index(asked, told.append)
    assert told[-1] == Finished(DONE)
    told.clear()
    index(replace(asked, yes=True), told.append)
    assert Said("3 gone") in told


def test_a_job_that_another_process_changes_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    index(asked, told.append)
    (tmp_path / "photos" / "new.jpg").touch()
    with ExitStack() as held:
        held.enter_context(changing(asked.job))
        monkeypatch.setattr(time, "sleep", lambda seconds: held.close())
        index(asked, told.append)
    assert Doing(f"Waiting until another process has changed {asked.job.path} …") in told
    assert Said("1 new") in told


def test_a_run_that_is_interrupted_says_that_it_stops_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    asked, told = whole(tmp_path, monkeypatch, lambda: None, interrupt)
    with pytest.raises(KeyboardInterrupt):
        index(asked, told.append)
    assert told[-1] == Said(STOPPING)
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    assert index(asked, told.append) == DONE


def test_what_is_raised_where_it_is_told_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    def tell(event: Event) -> None:
        if isinstance(event, Step):
            raise Enough

    asked, _ = whole(tmp_path, monkeypatch, lambda: None, lambda: pytest.fail("It went on."))
    with pytest.raises(Enough):
        index(asked, tell)


def sentences(told: list[Event]) -> list[str]:
    return [event.sentence for event in told if isinstance(event, Said)]


def several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Asked, list[Event], Path]:
    """A run over a job of three images and, in the folder that is returned, two more; and what it has told so far."""
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    index(asked, told.append)
    more = tmp_path / "more"
    more.mkdir()
    for name in "de":
        (more / f"{name}.jpg").touch()
    told.clear()
    index(replace(asked, source=str(more), add=True), told.append)
    return asked, told, more


def test_a_source_is_added_and_the_job_alone_names_all_of_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told, more = several(tmp_path, monkeypatch)
    assert sentences(told)[1:] == [f"{more}: 2 new"]
    assert told[-1] == Finished(DONE)
    photos = tmp_path / "photos"
    for folder in (photos, more):
        (folder / "new.jpg").touch()
    told.clear()
    index(replace(asked, source=None), told.append)
    assert sentences(told)[1:] == [f"{photos}: 1 new", f"{more}: 1 new"]
    for folder in (photos, more):
        (folder / "newer.jpg").touch()
    told.clear()
    index(replace(asked, source=str(more)), told.append)
    assert sentences(told)[1:] == [f"{more}: 1 new"]
    told.clear()
    index(replace(asked, source=str(more), add=True), told.append)
    assert sentences(told)[0] == f"{more} is a source of {asked.job.path} already, and is refreshed."
    assert open_job(asked.job).listed == 8


def test_a_source_that_is_away_keeps_no_other_from_being_refreshed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told, more = several(tmp_path, monkeypatch)
    away = (tmp_path / "photos").rename(tmp_path / "away")
    (more / "new.jpg").touch()
    told.clear()
    with pytest.raises(SourceError, match=f"{tmp_path}/photos, a source of {asked.job.path}, is not there"):
        index(replace(asked, source=None), told.append)
    assert Said(f"{more}: 1 new") in told
    assert told[-1] == Finished(DONE)
    (more / "new.jpg").unlink()
    (more / "d.jpg").unlink()
    with pytest.raises(SourceError, match=rf"2 of the 3 images .* {more} any.* {tmp_path}/photos, a source of"):
        index(replace(asked, source=None), told.append)
    away.rename(tmp_path / "photos")
    told.clear()
    index(replace(asked, source=None, yes=True), told.append)
    assert sentences(told)[1:] == [f"{more}: 2 gone"]


def test_what_two_lists_name_stays_when_one_of_them_lets_go_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("photos/a.jpg\n")
    other.write_text("photos/a.jpg\nphotos/b.jpg\nphotos/c.jpg\n")
    index(replace(asked, source=str(one)), told.append)
    index(replace(asked, source=str(other), add=True), told.append)
    one.write_text("photos/b.jpg\nphotos/a.jpg\n")
    other.write_text("photos/a.jpg\nphotos/c.jpg\n")
    told.clear()
    index(replace(asked, source=None, yes=True), told.append)
    place = "is in another source of the job already, and there only once"
    assert sentences(told)[1:] == [
        f"{one}: 1 image {place}", f"{other}: 1 image {place}", f"{other}: 1 gone", f"{one}: 1 new"
    ]  # fmt: skip
    one.write_text("photos/b.jpg\n")
    told.clear()
    index(replace(asked, source=str(one), yes=True), told.append)
    assert sentences(told)[-2:] == [
        f"{one}: 1 gone",
        "What this list names no more and another source has comes back when that one is refreshed.",
    ]
    index(replace(asked, source=None), told.append)
    assert len(open_job(asked.job).state.removed) == 2
    assert sentences(told)[-1] == f"{other}: 1 new"


def test_what_can_not_be_listed_again_is_said_and_the_job_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    listed = tmp_path / "standard input"
    listed.write_text(f"{tmp_path}/photos/a.jpg\n")
    with monkeypatch.context() as patch, open(listed) as stdin:
        patch.setattr("sys.stdin", stdin)
        index(replace(asked, source="-"), told.append)
    told.clear()
    index(replace(asked, source=None), told.append)
    assert sentences(told)[1:] == [
        "The list that came from standard input is compared when it is given there again, with - as the source."
    ]
    url = "memory://pictures-of-index-run"
    with fsspec.open(f"{url}/b.jpg", "wb") as file:
        file.write(b"b")
    index(replace(asked, source=url, add=True), told.append)
    told.clear()
    index(replace(asked, source=None), told.append)
    assert sentences(told)[2:] == [f"{url} is behind a URL, and is not listed again."]
    assert told[-1] == Finished(DONE)
    frozen = replace(asked, job=JobDir(tmp_path / "frozen"))
    index(replace(frozen, frozen=True), told.append)
    (tmp_path / "photos" / "new.jpg").touch()
    told.clear()
    index(replace(frozen, source=None), told.append)
    assert f"{tmp_path}/photos has 1 image that this job does not hold, and lacks 0 that it holds." in sentences(told)
    with pytest.raises(JobMismatch, match="takes up nothing, and no source can be added"):
        index(replace(frozen, source=url, add=True), told.append)


def test_arguments_that_do_not_go_together_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    alone = replace(asked, source=None)
    with pytest.raises(UsageError, match="is no job whose sources could be refreshed: name a source and a job"):
        index(alone, told.append)
    with pytest.raises(JobNotFound, match="There is no job at"):
        index(replace(asked, add=True), told.append)
    index(asked, told.append)
    for wrong in (replace(alone, add=True), replace(alone, moved=True), replace(alone, choice=Choice(sniff=True))):
        with pytest.raises(UsageError, match="not said which source is meant"):
            index(wrong, told.append)
    with pytest.raises(UsageError, match="A source that is added has not moved"):
        index(replace(asked, add=True, moved=True), told.append)


def test_features_are_asked_for_when_a_job_is_made_or_later_and_are_not_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    index(asked, told.append)
    assert wanted_features(asked.job) is None
    index(replace(asked, settings=Settings(copies="off")), told.append)
    assert wanted_features(asked.job) is None
    index(replace(asked, settings=Settings(copies="on")), told.append)
    assert wanted_features(asked.job) == STORED_VERSION
    written = asked.job.features_wanted.stat().st_mtime_ns
    for copies in ("on", None):
        index(replace(asked, settings=Settings(copies=copies)), told.append)
    assert asked.job.features_wanted.stat().st_mtime_ns == written
    with pytest.raises(JobMismatch, match="keeps it: leave the option copies out"):
        index(replace(asked, settings=Settings(copies="off")), told.append)
    new = replace(asked, job=JobDir(tmp_path / "new"), settings=Settings(copies="on"))
    index(new, told.append)
    assert wanted_features(new.job) == STORED_VERSION


@pytest.mark.parametrize("wanted", ['{"format": 1, "version": "others"}\n', "damaged\n"])
def test_features_of_another_version_are_refused_until_they_are_asked_for_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    index(replace(asked, settings=Settings(copies="on")), told.append)
    asked.job.features_wanted.write_text(wanted)
    with pytest.raises(JobError, match="copies=on"):
        index(asked, told.append)
    index(replace(asked, settings=Settings(copies="on")), told.append)
    assert wanted_features(asked.job) == STORED_VERSION
