"""A run of `duplicates` over real jobs, its workers in this process: the same groups whatever happened on the way."""

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from coordinator.jobs.runs.duplicates.found import Found
from coordinator.jobs.runs.duplicates.rejecting import reject
from coordinator.jobs.runs.duplicates.run import Asked, duplicates
from coordinator.jobs.runs.duplicates.table import write_table
from coordinator.jobs.runs.events import Event, Said
from shared.errors import JobError, NoIndexYet, UsageError
from shared.job.index.duplicates import compared, neighbours
from shared.job.index.duplicates.neighbours import neighbours_file
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.messages.verdicts import SAME_BYTES, SAME_PICTURE, SAME_PIXELS, SIMILAR
from shared.settings import Settings
from tests.support.bundles import bundle_of
from tests.support.compactions import compacted, remove
from tests.support.controls import UNWATCHED
from tests.support.duplicates import WorkHere, encoded, photo_job, vector_job, work_here
from tests.support.images.scenes import Picture, resized, scene
from tests.support.make_job import clustered, make_job
from workers.merge.build import merge

pytestmark = pytest.mark.slow


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> WorkHere:
    return work_here(monkeypatch)


@pytest.fixture
def photos(tmp_path: Path) -> OpenJob:
    """Two pictures: the first five times (twice in the same bytes), the second twice, and one that is alone."""
    one, other = scene(1, 480, 400), scene(2, 480, 400)
    return photo_job(
        tmp_path,
        {
            "0.jpg": encoded(resized(one, 200, 240), ".jpg"),
            "1.png": encoded(other),
            "2.png": encoded(one),
            "3.png": encoded(one[100:400, 60:340]),
            "4.png": encoded(scene(3, 480, 400)),
            "5.png": encoded(one),
            "6.jpg": encoded(one[:, ::-1], ".jpg"),
            "7.jpg": encoded(other, ".jpg", 60),
        },
    )


def found(job: OpenJob, told: list[Event] | None = None, **asked: object) -> Found:
    return duplicates(Asked(open_job(job), Settings(), **asked), (told if told is not None else []).append)  # type: ignore[arg-type]


def shown(groups: Found) -> list[list[tuple[int, str | None]]]:
    return [[(member.id, member.verdict) for member in group.members] for group in groups.groups]


def test_copies_are_grouped_with_their_verdicts_and_the_best_is_kept_for_a_reason(
    here: WorkHere, photos: OpenJob, tmp_path: Path
) -> None:
    os.utime(tmp_path / "photos" / "5.png", (1_000_000, 1_000_000))
    result = found(photos)
    assert shown(result) == [
        [(5, None), (2, SAME_BYTES), (6, SAME_PIXELS), (3, SAME_PICTURE), (0, SAME_PIXELS)],
        [(1, None), (7, SAME_PIXELS)],
    ]
    assert [group.reason for group in result.groups] == ["as many pixels as the next one, and more bytes"] * 2
    first = {member.id: member for member in result.groups[0].members}
    assert first[3].evidence is not None
    assert first[3].evidence.description.startswith("cropped (4")
    assert first[6].evidence is not None
    assert first[6].evidence.mirrored
    assert not any(member.shows_more for member in first.values())
    assert result.images == 8
    assert (result.kind, result.notes) == ("picture", [])


def grey(picture: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def test_a_grey_copy_of_more_bytes_does_not_take_the_place_of_the_coloured_picture(
    here: WorkHere, tmp_path: Path
) -> None:
    one, two = scene(1, 480, 400), scene(2, 480, 400)
    files = {"0.png": encoded(grey(one)), "1.jpg": encoded(one, ".jpg", 60), "2.jpg": encoded(one, ".jpg", 90)}
    files |= {"3.png": encoded(grey(two)), "4.jpg": encoded(two, ".jpg")}
    job = photo_job(tmp_path, files)
    for kind in ("picture", "pixels"):
        groups = {group.members[0].id: group for group in found(job, kind=kind).groups}
        assert {kept: [member.id for member in group.members] for kept, group in groups.items()} == {
            2: [2, 1, 0],
            4: [4, 3],
        }
        assert groups[4].reason == "as many pixels as the next one, and in colour"
        assert groups[2].reason == "as many pixels as the next one, and more bytes", "the next one is the other JPEG"
        assert (groups[2].members[2].bytes or 0) > (groups[2].members[0].bytes or 0)


def test_a_kind_has_what_is_stronger_and_nothing_weaker(here: WorkHere, photos: OpenJob) -> None:
    assert shown(found(photos, kind="bytes")) == [[(2, None), (5, SAME_BYTES)]]
    assert here.parts == []
    assert [sorted(one for one, _ in group) for group in shown(found(photos, kind="pixels"))] == [[0, 2, 5, 6], [1, 7]]
    assert [sorted(one for one, _ in group) for group in shown(found(photos))] == [[0, 2, 3, 5, 6], [1, 7]]
    similar = found(photos, kind="similar", similarity=0.5)
    assert {verdict for group in shown(similar) for _, verdict in group} <= {None, SAME_BYTES, SIMILAR}
    assert any("no proof" in note for note in similar.notes)


def test_the_same_job_gives_the_same_groups_and_nothing_is_done_twice(
    here: WorkHere, photos: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = found(photos).to_json()
    done = list(here.parts)
    assert len(done) == len(set(done))
    assert found(photos).to_json() == first
    assert here.parts == done
    for path in photos.duplicates_dir.iterdir():
        path.unlink()
    work_here(monkeypatch, seed=5)
    assert found(photos).to_json() == first


def test_a_run_that_is_ended_at_any_part_goes_on_with_the_next(here: WorkHere, photos: OpenJob) -> None:
    here.fail_after = 0
    while True:
        try:
            result = found(photos)
            break
        except KeyboardInterrupt:
            assert len(here.parts) == here.fail_after
            here.fail_after += 1
    assert len(here.parts) == len(set(here.parts)) == here.fail_after
    assert [len(group.members) for group in result.groups] == [5, 2]
    assert photos.duplicates_files("asked") == []


def test_a_kill_at_any_step_of_a_search_for_duplicates_leaves_the_state_before_or_after(
    here: WorkHere, photos: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = found(photos).to_json()
    for module, step in ((neighbours, "commit_neighbours"), (compared, "ask_pairs"), (compared, "commit_compared")):
        for path in photos.duplicates_dir.iterdir():
            path.unlink()

        def killed(at: str, step: str = step) -> None:
            if at == step:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(module, "failpoint", killed)
            with pytest.raises(KeyboardInterrupt):
                found(photos)
        assert all(ours for _, ours in photos.files())
        assert found(photos).to_json() == first


def test_a_removed_image_leaves_its_group_and_a_compaction_has_nothing_done_again(
    here: WorkHere, photos: OpenJob
) -> None:
    found(photos)
    done = list(here.parts)
    remove(photos, 6)
    result = found(photos)
    assert [sorted(one for one, _ in group) for group in shown(result)] == [[0, 2, 3, 5], [1, 7]]
    assert compacted(photos).purged == 1
    merge(open_job(photos), Settings(), UNWATCHED)
    assert found(photos).to_json() == result.to_json()
    assert here.parts == done


def test_an_image_stands_for_another_of_the_same_bytes_that_was_removed(here: WorkHere, photos: OpenJob) -> None:
    found(photos)
    done = list(here.parts)
    remove(photos, 2)
    assert [sorted(one for one, _ in group) for group in shown(found(photos))] == [[0, 3, 5, 6], [1, 7]]
    assert here.parts == done
    compacted(photos)
    merge(open_job(photos), Settings(), UNWATCHED)
    # What was compared with it is compared with the other one: nothing says any more that it had the same bytes.
    assert [sorted(one for one, _ in group) for group in shown(found(photos))] == [[0, 3, 5, 6], [1, 7]]
    assert len(here.parts) > len(done)


def test_what_agrees_in_less_than_nine_tenths_is_no_duplicate(here: WorkHere, photos: OpenJob) -> None:
    found(photos)
    (path,) = photos.duplicates_files("compared")
    rows = compared.read_compared(path)[0]
    weaker = []
    for row in rows:
        if {*row.pair} == {1, 7} and row.evidence is not None:
            row = replace(row, evidence=json.dumps(json.loads(row.evidence) | {"aligned": 0.89}))
        weaker.append(row)
    assert weaker != rows
    batch = compared.ask(photos, [row.pair for row in rows], 1)
    path.unlink()
    compared.write_compared(photos, batch, weaker)
    assert [sorted(one for one, _ in group) for group in shown(found(photos))] == [[0, 2, 3, 5, 6]]


def test_rejected_pairs_are_not_shown_again(here: WorkHere, photos: OpenJob) -> None:
    found(photos)
    assert reject(open_job(photos), [[1, 7], [2, 6], [5, 6]]) == 3
    assert reject(open_job(photos), [[7, 1]]) == 0
    result = found(photos)
    assert [sorted(one for one, _ in group) for group in shown(result)] == [[0, 2, 3, 5]]
    reject(open_job(photos), [[2, 5]])
    assert [sorted(one for one, _ in group) for group in shown(found(photos))] == [[0, 2, 3]]
    assert not found(photos, kind="bytes").groups


def test_images_that_are_gone_are_said_and_compared_once_they_are_back(
    here: WorkHere, photos: OpenJob, tmp_path: Path
) -> None:
    data = (tmp_path / "photos" / "7.jpg").read_bytes()
    (tmp_path / "photos" / "7.jpg").unlink()
    result = found(photos)
    assert [sorted(one for one, _ in group) for group in shown(result)] == [[0, 2, 3, 5, 6]]
    (note,) = result.notes
    assert "could not be compared" in note
    assert "7.jpg" in note
    (tmp_path / "photos" / "7.jpg").write_bytes(data)
    result = found(photos)
    assert [sorted(one for one, _ in group) for group in shown(result)] == [[0, 2, 3, 5, 6], [1, 7]]
    assert result.notes == []


def test_damaged_files_are_made_anew_and_that_is_said(here: WorkHere, photos: OpenJob) -> None:
    first = found(photos).to_json()
    damaged = [photos.duplicates_files("compared")[0], neighbours_file(photos, ledger.read_seal(photos, 0))]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-9])
    told: list[Event] = []
    assert found(photos, told).to_json() == first
    said = [event.sentence for event in told if isinstance(event, Said)]
    assert [any(str(path) in sentence for sentence in said) for path in damaged] == [True, True]


def test_vectors_alone_are_grouped_by_similarity_from_their_best(here: WorkHere, tmp_path: Path) -> None:
    vectors = clustered(60, 32, clusters=60)
    vectors[30] = vectors[4]
    vectors[50] = vectors[4] + 0.02
    result = found(vector_job(tmp_path, vectors), similarity=0.99)
    group = next(group for group in shown(result) if group[0][0] == 4)
    assert group == [(4, None), (30, SIMILAR), (50, SIMILAR)]
    assert result.groups[0].reason == "the first in the job, which knows nothing else of its images"
    assert result.kind == "similar"
    assert any("SHA-256" in note for note in result.notes)


def test_thousands_of_equal_vectors_are_one_group(here: WorkHere, tmp_path: Path) -> None:
    vectors = np.repeat(clustered(1, 16), 3_000, axis=0)
    result = found(vector_job(tmp_path, vectors, partition_size=1_000))
    assert [len(group.members) for group in result.groups] == [3_000]
    digests = [f"{row // 1_500:064x}" for row in range(3_000)]
    result = found(vector_job(tmp_path / "hashed", vectors, digests, 1_000), kind="bytes")
    assert [len(group.members) for group in result.groups] == [1_500, 1_500]


def test_what_is_no_sha256_says_nothing_of_bytes(here: WorkHere, tmp_path: Path) -> None:
    digests = ["", "", "x" * 64, "x" * 64, "ab" * 16, "ab" * 16, "AB" * 32, "ab" * 32]
    result = found(vector_job(tmp_path, clustered(8, 16), digests), kind="bytes")
    assert shown(result) == [[(6, None), (7, SAME_BYTES)]]
    assert result.notes == ["Of 6 images the job has no SHA-256: equal bytes are not known of them."]


def test_what_can_not_be_had_is_said_in_a_sentence(here: WorkHere, photos: OpenJob, tmp_path: Path) -> None:
    vectors = vector_job(tmp_path / "vectors", clustered(30, 16))
    for kind in ("pixels", "picture"):
        with pytest.raises(UsageError, match="was made of vectors, and has no images to be compared"):
            found(vectors, kind=kind)
    with pytest.raises(UsageError, match="has the SHA-256 of no image"):
        found(vectors, kind="bytes")
    with pytest.raises(UsageError, match="no kind 'equal' of duplicates"):
        found(photos, kind="equal")
    with pytest.raises(UsageError, match=r"from 0\.5 to 1"):
        found(photos, similarity=0.2)
    with pytest.raises(UsageError, match="no similarity"):
        found(photos, kind="bytes", similarity=0.9)
    with pytest.raises(JobError, match="bundle"):
        found(bundle_of(photos, tmp_path / "bundle"))
    assert here.parts == []


def test_a_job_without_an_index_or_without_an_image_says_so(here: WorkHere, tmp_path: Path) -> None:
    with pytest.raises(NoIndexYet, match="has no index yet"):
        found(make_job(tmp_path / "job").job)
    with pytest.raises(NoIndexYet):
        found(make_job(tmp_path / "empty", sealed=[]).job)


def test_images_that_are_not_embedded_are_counted(here: WorkHere, tmp_path: Path) -> None:
    result = found(make_job(tmp_path / "job", failed={3, 30}, sealed=[0, 1]).job, kind="bytes")
    assert result.notes == [
        "10 images are in partitions that are not sealed yet, and are not looked at.",
        "2 images could not be embedded, and are not looked at.",
    ]
    assert result.images == 48


def test_the_original_of_a_picture_in_a_larger_page_is_finer_and_not_needless(here: WorkHere, tmp_path: Path) -> None:
    one = scene(1, 480, 400)
    page = scene(3, 520, 480) // 8 + 220
    page[60:444, 80:400] = resized(one, 320, 384)
    (group,) = found(photo_job(tmp_path, {"0.png": encoded(one), "1.png": encoded(page)})).groups
    kept, other = group.members
    assert (kept.id, other.id) == (1, 0)
    assert other.is_finer
    assert not other.shows_more
    assert not other.is_needless
    assert other.to_json()["is_finer"]


def test_the_table_has_a_row_for_each_image(here: WorkHere, photos: OpenJob, tmp_path: Path) -> None:
    result = found(photos)
    write_table(tmp_path / "table.parquet", result)
    rows = pq.read_table(tmp_path / "table.parquet").to_pylist()
    assert [(row["group"], row["id"]) for row in rows] == [
        (number, member.id) for number, group in enumerate(result.groups, 1) for member in group.members
    ]
    assert [row["keep"] for row in rows] == [True, *[False] * 4, True, False]
    assert json.loads(next(row["evidence"] for row in rows if row["id"] == 3))["inliers"] > 8
    assert [bool(row["reason"]) for row in rows] == [row["keep"] for row in rows]
