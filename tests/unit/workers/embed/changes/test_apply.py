"""What a message asks of a job is done once, all of it or nothing."""

import contextlib
import hashlib
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.verify import verify
from coordinator.jobs.from_vectors import import_vectors
from coordinator.jobs.progress import ProgressReader
from coordinator.sources.vectors.vectors import open_vectors
from shared.errors import ImageError, JobBusy, JobError, JobMismatch, LookalikeError, NoIndexYet, UsageError
from shared.images.location import Location, read_bytes
from shared.job import path_list
from shared.job.changes.adding import add_partitions, require_growing
from shared.job.changes.lock import changing
from shared.job.changes.log import Change, read_change, write_change
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.uncovered import merge_due
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.job.partition.features.wanted import want_features
from shared.job.source.moved import read_moved
from shared.messages.changed import Changed
from shared.messages.changes import ChangeJob, NewImage
from shared.settings import Settings
from tests.support.bundles import bundle_of
from tests.support.controls import UNWATCHED
from tests.support.damage import snapshot
from tests.support.embedders import AnyModel
from tests.support.featured import stored
from tests.support.images.tiles import png, tile
from tests.support.kills import Killed, killed_at
from tests.support.source_jobs import sealed
from workers.embed.changes import apply as applying
from workers.embed.changes.apply import apply
from workers.embed.changes.embedding import embed_images
from workers.images.read import read_image
from workers.merge import build as merging
from workers.search.searcher import Searcher

pytestmark = pytest.mark.slow


class _Readers:
    """Reads in this process, where a test need not start others for it."""

    def __init__(self, *wanted: Any) -> None:
        self._wanted = wanted

    def __enter__(self) -> "_Readers":
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def read(self, location: Any) -> Any:
        return read_image(location, *self._wanted)


@pytest.fixture(autouse=True)
def without_a_model(monkeypatch: pytest.MonkeyPatch, job: OpenJob) -> None:
    monkeypatch.setattr("workers.embed.changes.embedding.IsolatedReaders", _Readers)
    monkeypatch.setattr("workers.models.loaded.loaded_embedder", lambda *spec: AnyModel(job.manifest))


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of twelve photos in partitions of five, from a list with a year and a text for each, with its index."""
    rows = ["path,year,text,day"]
    rows += [f"{tile(tmp_path / 'photos' / f'{n:02d}.png', n)},{2000 + n},no {n},2026-01-02" for n in range(12)]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    job = sealed(str(tmp_path / "list.csv"), JobDir(tmp_path / "job"))
    merging.merge(job, Settings(), UNWATCHED)
    return job


@pytest.fixture
def more(tmp_path: Path) -> list[str]:
    """Photos that the job does not have."""
    return [str(tile(tmp_path / "more" / f"{n}.png", n)) for n in range(30, 37)]


def asked(action: str = "add", *images: str | tuple[str, bytes], request: str = "one", **fields: Any) -> ChangeJob:
    made = tuple(NewImage(image) if isinstance(image, str) else NewImage("", *image) for image in images)
    return ChangeJob("job", action, request, made, **fields).require()


def done(job: JobDir, action: str = "add", *images: Any, **fields: Any) -> Changed:
    return apply(job, asked(action, *images, **fields), Settings())


def row(job: JobDir, image_id: int) -> tuple[dict[str, Any], bytes]:
    """The metadata of an image without its id, and its embedding."""
    number = open_job(job).partition_of(image_id).number
    table = pq.read_table(job.metadata(number))
    place = table["id"].to_pylist().index(image_id)
    return table.drop_columns(["id"]).slice(place, 1).to_pylist()[0], np.load(job.img_emb(number))[place].tobytes()


def wrong(job: JobDir) -> list[str]:
    """What `verify` finds, besides the dimension of the embeddings, which the test's model makes up."""
    return [finding.wrong for finding in verify(job, Checked()) if "dimensions" not in finding.wrong]


def found_first(job: JobDir, image_id: int) -> str:
    """The path of the image that is most like the embedding of one; it must be that image itself."""
    vector = np.frombuffer(row(job, image_id)[1], np.float16).astype(np.float32)
    files = JobFiles.of(job, Settings())
    hit = Searcher.open(files, job.current.read_text().strip()).search(vector, 3)[0]
    assert hit.id == image_id
    return hit.image_path


def test_added_images_have_the_rows_that_an_embed_worker_writes_and_are_found(
    job: OpenJob, more: list[str], tmp_path: Path
) -> None:
    changed = done(job, "add", *more)
    assert (changed.ids, changed.change) == (list(range(12, 19)), 1)
    change = read_change(job, 1)
    assert (change.action, [len(part) for part in change.partitions]) == ("add", [5, 2])
    other = sealed(str(tmp_path / "more"), JobDir(tmp_path / "other"))
    for place, image_id in enumerate(changed.ids):
        facts, embedding = row(job, image_id)
        known, expected = row(other, place)
        assert (facts, embedding) == (known | {"year": None, "text": None, "day": None}, expected)
        assert found_first(job, image_id) == more[place]
    assert wrong(job) == []
    assert not any(job.chunk_dir(number).exists() for number in range(6))


def test_what_comes_as_bytes_is_held_by_the_job_wherever_that_is(job: OpenJob, tmp_path: Path) -> None:
    changed = done(job, "add", ("a cat.png", png(50)), ("dog.png", png(51)))
    assert found_first(job, changed.ids[0]).endswith("/a cat.png")
    elsewhere = JobDir(tmp_path / "elsewhere" / "job")
    shutil.copytree(job.path, elsewhere.path)
    shutil.rmtree(job.path)
    opened = open_job(elsewhere)
    locations = path_list.read_locations(opened, opened.partition_of(13))
    assert [read_bytes(one.place, 10_000) for one in locations] == [png(50), png(51)]
    moved = read_moved(elsewhere)
    assert [moved.now(moved.listed(one.place)) for one in locations] == [one.place for one in locations]
    assert found_first(elsewhere, changed.ids[1]) == locations[1].place
    assert wrong(elsewhere) == []
    Path(locations[0].place).unlink()
    Path(locations[1].place).write_bytes(b"other")
    assert [text[:20] for text in wrong(elsewhere)] == ["The image has not th", "The image 12, which "]


@pytest.mark.parametrize(
    ("images", "error", "said"),
    [
        (["{more}", "{nothing}"], ImageError, "nothing was added: .*nothing.png .vanished.: There is no such file"),
        (["{more}", "{text}"], ImageError, "1 image can't be embedded.*not-an-image"),
        (["{more}", "{more}"], UsageError, "named twice"),
        (["{photo}", "{more}"], JobError, r"has .*/photos/03.png \(id 3\) already: nothing was added"),
        ([("x.png", b"no image")], ImageError, "x.png .not-an-image"),
    ],
)
def test_what_can_not_be_added_leaves_nothing(
    job: OpenJob, more: list[str], tmp_path: Path, images: list[Any], error: type[Exception], said: str
) -> None:
    (tmp_path / "text.png").write_text("no image")
    places = {"more": more[0], "photo": tmp_path / "photos" / "03.png", "text": tmp_path / "text.png"}
    places["nothing"] = tmp_path / "nothing.png"
    before = snapshot(job.path)
    named = [image.format(**places) if isinstance(image, str) else image for image in images]
    with pytest.raises(error, match=said):
        done(job, "add", *named)
    assert snapshot(job.path) == before


def test_a_request_that_comes_twice_is_done_once(job: OpenJob, more: list[str]) -> None:
    first = done(job, "add", *more[:2], request="mine")
    assert done(job, "add", *more[:2], request="mine") == first
    assert open_job(job).listed == 14
    with pytest.raises(UsageError, match=r"The request 'mine' was another one \(change 1, add"):
        done(job, "add", *more[1:3], request="mine")
    removed = done(job, "delete", ids=(3, 12), request="gone")
    assert done(job, "delete", ids=(3, 12), request="gone") == removed
    assert open_job(job).state.removed.tolist() == [3, 12]
    # What was removed may come again, as another image.
    assert done(job, "add", more[0], request="again").ids == [14]


def test_a_change_that_came_while_another_was_under_way_is_found_under_the_lock(
    job: OpenJob, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = embed_images

    def overtaken(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(applying, "embed_images", real)
        assert done(job, "add", more[0]).ids == [12]
        return real(*arguments, **options)

    monkeypatch.setattr(applying, "embed_images", overtaken)
    assert done(job, "add", more[0]).ids == [12]
    assert open_job(job).listed == 13


def test_metadata_comes_with_images_and_must_fit(job: OpenJob, more: list[str]) -> None:
    rows = ({"year": 1999, "text": "é"}, {"day": "2020-02-29"})
    assert done(job, "add", *more[:2], metadata=rows).ids == [12, 13]
    assert {name: row(job, 12)[0][name] for name in ("year", "text", "day")} == {"year": 1999, "text": "é", "day": None}
    assert str(row(job, 13)[0]["day"]) == "2020-02-29"
    before = snapshot(job.path)
    for values, said in (
        ({"colour": "red"}, "no column 'colour' in the metadata of its images: it has year, text, day"),
        ({"year": "1999"}, "year holds int64, and '1999' is none"),
        ({"year": True}, "year holds int64, and True is none"),
        ({"year": 1 << 70}, "can't hold what was given"),
    ):
        with pytest.raises(UsageError, match=said):
            done(job, "add", more[2], metadata=(values,), request="two")
    assert snapshot(job.path) == before


def test_an_update_gives_a_new_id_and_removes_the_old_one_in_one_change(job: OpenJob, more: list[str]) -> None:
    assert done(job, "update", more[0], ids=(3,)).ids == [12]
    change = read_change(job, 1)
    assert (change.action, change.removed.tolist(), change.reasons) == ("update", [3], {"updated": 1})
    facts, _ = row(job, 12)
    assert (facts["image_path"], facts["year"], facts["text"]) == (more[0], 2003, "no 3")
    # The metadata alone: the same image, to the bit, under the same path.
    assert done(job, "update", ids=(12,), metadata=({"text": "new"},), request="two").ids == [13]
    assert row(job, 13) == (facts | {"text": "new"}, row(job, 12)[1])
    assert open_job(job).state.removed.tolist() == [3, 12]
    tile(Path(more[0]), 99)
    assert done(job, "update", more[0], ids=(13,), metadata=({"year": 1},), request="three").ids == [14]
    assert row(job, 14)[0]["year"] == 1
    assert row(job, 14)[1] != row(job, 13)[1]
    assert found_first(job, 14) == more[0]
    assert wrong(job) == []
    for ids, said in (((13,), "was removed before"), ((99,), "has the image ids 0 to 14"), ((0,), "has .*id 14")):
        with pytest.raises(JobError, match=said):
            done(job, "update", more[0], ids=ids, request="four")


def test_a_delete_says_what_is_not_there(job: OpenJob) -> None:
    assert done(job, "delete", ids=(5, 0)).ids == [0, 5]
    with pytest.raises(JobError, match=r"The image 5 of .* was removed before"):
        done(job, "delete", ids=(4, 5), request="two")
    assert open_job(job).state.removed.tolist() == [0, 5]


def test_a_second_writer_waits_and_then_is_told(job: OpenJob, more: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "PATIENCE_SECONDS", 0.3)
    with changing(job), pytest.raises(JobBusy, match="is changing"):
        done(job, "add", more[0])
    assert done(job, "add", more[0]).ids == [12]


@pytest.mark.parametrize("change", ["add", "update"])
def test_a_change_that_is_killed_at_any_step_leaves_the_state_before_or_after(
    job: OpenJob, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    message = asked("add", *more[:6], ("cat.png", png(50)))
    if change == "update":
        message = asked("update", ("cat.png", png(50)), ids=(3,))
    ended = 0
    for kill in range(100):
        again = JobDir(tmp_path / "copies" / "job")
        shutil.rmtree(again.path, ignore_errors=True)
        shutil.copytree(job.path, again.path)
        with killed_at(kill, monkeypatch):
            try:
                apply(again, message, Settings())
                ended = kill
            except Killed:
                pass
        now = open_job(again)
        assert now.state.number in (0, 1)
        if now.state.number == 0:
            assert found_first(again, 11)  # Readers know nothing of what was written.
            # Other images take the number of the partition that was begun.
            assert done(again, "add", more[6], request="other").ids == [12]
            assert row(again, 12)[0]["image_path"] == more[6]
            assert found_first(again, 12) == more[6]
        changed = apply(again, message, Settings())
        assert changed.ids[-1] == open_job(again).listed - 1
        assert found_first(again, changed.ids[-1]).endswith("cat.png")
        assert [text for text in wrong(again) if "an hour old" not in text] == []
        if ended:
            break
    assert ended > 6


def test_a_job_that_is_frozen_or_has_no_index_takes_nothing(job: OpenJob, more: list[str], tmp_path: Path) -> None:
    frozen = OpenJob(job.path, replace(job.manifest, frozen=True), job.state)
    with pytest.raises(JobMismatch, match="takes up nothing"):
        require_growing(frozen)
    new = sealed(str(tmp_path / "more"), JobDir(tmp_path / "new"))
    with pytest.raises(NoIndexYet, match="has no index yet, beside which"):
        done(new, "add", str(tile(tmp_path / "x.png", 1)))
    with pytest.raises(JobMismatch, match="add images"):
        done(job, "add", vectors=np.ones((1, 12), np.float16))


@pytest.fixture
def imported(tmp_path: Path) -> OpenJob:
    """A job of vectors that were imported, with its index."""
    vectors = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    settings = Settings(partition_size=25)
    job = import_vectors(open_vectors(str(tmp_path / "vectors.npy")), JobDir(tmp_path / "imported"), settings, _unheard)
    merging.merge(job, Settings(), UNWATCHED)
    return job


def _unheard(doing: str, count: int) -> None:
    """Nothing is reported."""


def test_vectors_are_added_to_a_job_of_imported_ones(imported: OpenJob) -> None:
    vectors = np.random.default_rng(2).normal(size=(3, 6)).astype(np.float16)
    changed = done(imported, "add", vectors=vectors, paths=("a.jpg", None, "b.jpg"))
    assert changed.ids == [40, 41, 42]
    assert [found_first(imported, image_id) for image_id in changed.ids] == ["a.jpg", "one#1", "b.jpg"]
    assert done(imported, "update", vectors=vectors[:1] * 2 + 1, ids=(40,), request="two").ids == [43]
    assert found_first(imported, 43) == "a.jpg"  # It is the vector of the same image.
    assert wrong(imported) == []
    before = snapshot(imported.path)
    refused: Sequence[tuple[dict[str, Any], type[LookalikeError], str]] = (
        ({"vectors": vectors[:, :5]}, JobMismatch, "holds vectors of 6 dimensions .* those given have 5"),
        ({"vectors": vectors, "model": "clip"}, JobMismatch, "of the model 'clip'"),
        ({"vectors": vectors[:1], "paths": ("b.jpg",)}, JobError, r"has b.jpg \(id 42\) already"),
        ({"vectors": vectors * 0}, UsageError, "The vector 0 of 3 is zero"),
    )
    for fields, error, said in refused:
        with pytest.raises(error, match=said):
            done(imported, "add", request="three", **fields)
    with pytest.raises(JobMismatch, match="images can't be embedded for it"):
        done(imported, "add", "photo.jpg", request="three")
    assert snapshot(imported.path) == before


def test_a_merge_is_asked_for_where_much_is_searched_beside_the_index(
    imported: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(2).normal(size=(20, 6)).astype(np.float16)
    assert done(imported, "add", vectors=vectors).uncovered == (0, 0)
    assert ProgressReader(imported).read().beside == 20
    monkeypatch.setattr("shared.job.index.uncovered.LEAST", 30)
    assert done(imported, "add", vectors=vectors, request="two").uncovered == (40, 2)
    shutil.move(imported.current, imported.path / "aside")
    assert merge_due(imported) == (80, 4)  # All there is.
    imported.current.write_text("0001-none\n")
    assert done(imported, "delete", ids=(1,), request="gone").uncovered == (0, 0)  # It was made, damage or not.
    shutil.move(imported.path / "aside", imported.current)
    merging.merge(open_job(imported), Settings(), UNWATCHED)
    assert ProgressReader(imported).read().beside == 0
    assert done(imported, "add", vectors=vectors, request="three").uncovered == (0, 0)


def test_another_change_of_the_same_number_leaves_nothing_of_this_one(
    job: OpenJob, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As can be on a mount without locks."""
    real = add_partitions

    def overtaken(opened: OpenJob, *arguments: Any, **options: Any) -> Change:
        write_change(opened, opened.manifest, Change(1, "delete", removed=np.array([2])))
        return real(opened, *arguments, **options)

    monkeypatch.setattr(applying, "add_partitions", overtaken)
    with pytest.raises(JobBusy, match="at the same time"):
        done(job, "add", more[0])
    assert open_job(job).listed == 12
    assert done(job, "delete", ids=(3,), request="two").change == 2


def test_a_job_in_a_bucket_takes_images_and_holds_those_that_come_as_bytes(
    job: OpenJob, more: list[str], tmp_path: Path
) -> None:
    there = sealed(str(tmp_path / "list.csv"), JobDir.at(f"memory://{uuid.uuid4().hex}/job"))
    settings = Settings(job_cache_dir=tmp_path / "cache")
    merging.merge(there, settings, UNWATCHED)
    message = asked("add", more[0], ("cat.png", png(50)))
    changed = apply(there, message, settings)
    assert (changed.ids, apply(there, message, settings)) == ([12, 13], changed)
    opened = open_job(there)
    location = path_list.read_locations(opened, opened.partition_of(13))[1]
    assert location.place == f"{there.path}/added/{hashlib.sha256(png(50)).hexdigest()}/cat.png"
    assert read_bytes(location.place, 10_000) == png(50)
    assert read_moved(there).listed(location.place) == location.path
    searcher = Searcher.open(JobFiles.of(there, settings), builds.current_build(there) or "")
    vector = np.frombuffer(row(job, done(job, "add", more[0], ("cat.png", png(50))).ids[1])[1], np.float16)
    hit = searcher.search(vector.astype(np.float32), 1)[0]
    assert hit.id == 13
    assert hit.image_path == location.place
    with pytest.raises(ImageError):
        apply(there, asked("add", ("bad.png", b"none"), request="two"), settings)
    assert [digest for digest, _ in there.added_files()] == [hashlib.sha256(png(50)).hexdigest()]
    assert wrong(there) == []


@pytest.mark.parametrize("action", ["add", "delete", "update"])
def test_a_bundle_is_changed_by_no_message(
    job: OpenJob, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    bundle = bundle_of(job, tmp_path / "bundle")
    before = snapshot(bundle.path)
    monkeypatch.setattr("workers.models.loaded.loaded_embedder", None)  # Nothing is embedded for it.
    with pytest.raises(JobError, match=r"is a bundle of the job .*: it is for searching, and can't be changed"):
        done(bundle, action, *(more[:1] if action != "delete" else ()), ids=() if action == "add" else (3,))
    assert snapshot(bundle.path) == before


def test_images_that_are_added_to_a_job_with_features_have_theirs_at_once(job: OpenJob, more: list[str]) -> None:
    want_features(job)
    shutil.copy(more[0], Path(more[1]).with_name("copy.png"))
    added = done(job, "add", more[0], str(Path(more[1]).with_name("copy.png")), more[2])
    found = stored(job)
    assert sorted(found) == list(added.ids)
    expected = [read_image(Location(path), 224, 10**8, 10**8, features=True).features for path in (more[0], more[2])]
    assert [found[image] for image in added.ids] == [expected[0], expected[0], expected[1]]
    # Other metadata of the same image takes its features along; of one without any, there are none.
    changed = done(job, "update", ids=(added.ids[2],), metadata=({"year": 1},), request="two")
    assert stored(job)[changed.ids[0]] == expected[1]
    without = done(job, "update", ids=(4,), metadata=({"year": 1},), request="three")
    assert without.ids[0] not in stored(job)
    assert wrong(job) == []


def test_images_of_a_job_without_features_get_none(job: OpenJob, more: list[str]) -> None:
    done(job, "add", more[0])
    assert job.features_numbers() == []


def test_a_kill_while_images_with_features_are_added_leaves_nothing_or_all(
    job: OpenJob, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want_features(job)
    step, outcomes = 0, set()
    while True:
        path = tmp_path / f"killed {step}" / "job"
        shutil.copytree(job.path, path)
        killed = JobDir(path)
        with killed_at(step, monkeypatch) as happened:
            with contextlib.suppress(Killed):
                done(killed, "add", more[0])
            ended = happened() <= step
        outcomes.add(bool(open_job(killed).change_numbers()))
        assert len(stored(killed)) == len(open_job(killed).change_numbers())
        done(killed, "add", more[0])
        assert list(stored(killed)) == [12]
        assert killed.features_numbers() == [open_job(killed).partition_of(12).number]
        shutil.rmtree(path.parent)
        if ended:
            break
        step += 1
    assert outcomes == {False, True}
