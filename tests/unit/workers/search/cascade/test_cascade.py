"""Verdicts of whole answers: real pictures on disk, real comparisons, and a model that is none."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from coordinator.jobs.changes.removal import Asked, remove
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.job.partition.features.wanted import want_features
from shared.messages.filter import Filter
from shared.messages.query import Query
from shared.messages.search import SearchJob
from shared.messages.verdicts import SAME_BYTES, SAME_PICTURE, SAME_PIXELS, SIMILAR
from shared.messages.verified import ALL, AUTO, ENOUGH, FAR, NEVER, Verified, Verify
from shared.settings import Settings
from tests.support.answering import COUNT, Fields, asked, crop, encoded, scenes_in
from tests.support.bundles import bundle_of
from tests.support.controls import UNWATCHED
from tests.support.embedders import AnyModel, embed
from tests.support.images.scenes import scene
from tests.support.source_jobs import made, sealed
from workers.merge.build import merge
from workers.search.answer import Answerer
from workers.search.cascade import cascade
from workers.search.cascade.verification import LONG_AFTER
from workers.search.searcher import Searcher

pytestmark = pytest.mark.slow

NO_INDEX = "Chances are measured with the index, which is not there yet."
TEST = Settings(query_threads=2, verify_seconds=120.0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return scenes_in(tmp_path / "photos")


@pytest.fixture
def job(photos: Path, tmp_path: Path) -> OpenJob:
    return sealed(str(photos), JobDir.at(tmp_path / "job"))


@pytest.fixture(scope="module")
def answerer() -> Iterator[Answerer]:
    """One for all tests, as a worker is for all queries: to start its processes takes longer than most tests."""
    embedder: Any = Fields()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.search.answer.loaded_embedder", lambda *_: embedder)
        answering = Answerer(TEST)
        yield answering
        answering.close()


def test_a_crop_is_the_same_picture_and_the_others_are_similar(answerer: Answerer, job: OpenJob) -> None:
    answer = asked(answerer, job, crop(5))
    first, *others = answer.hits
    assert (first.id, first.verdict) == (5, SAME_PICTURE)
    assert first.evidence is not None
    assert first.evidence.hit_overlap == pytest.approx(260 * 230 / (360 * 300), abs=0.03)
    assert first.evidence.matrix[0][2] == pytest.approx(30, abs=2)
    assert first.evidence.matrix[1][2] == pytest.approx(40, abs=2)
    assert {hit.verdict for hit in others} == {SIMILAR}
    assert [hit.similarity for hit in others] == sorted((hit.similarity for hit in others), reverse=True)
    assert answer.verified == Verified(COUNT, 1 + LONG_AFTER, ended=ENOUGH)


def test_bytes_and_pixels_are_told_apart_and_an_absent_picture_is_none_of_them(
    answerer: Answerer, job: OpenJob, photos: Path
) -> None:
    copy = asked(answerer, job, (photos / "03.png").read_bytes()).hits[0]
    assert (copy.id, copy.verdict, copy.evidence) == (3, SAME_BYTES, None)
    small = cv2.resize(scene(3), (150, 180), interpolation=cv2.INTER_AREA)
    again = asked(answerer, job, encoded(np.rot90(small), ".jpg")).hits[0]
    assert (again.id, again.verdict) == (3, SAME_PIXELS)
    assert again.evidence is not None
    assert again.evidence.turned == -90
    absent = asked(answerer, job, encoded(scene(99)), k=COUNT)
    assert {(hit.verdict, hit.chance) for hit in absent.hits} == {(SIMILAR, None)}
    assert absent.verified == Verified(COUNT, COUNT, ended=ALL, no_chances=NO_INDEX)


def test_what_was_not_asked_for_costs_and_says_nothing(answerer: Answerer, job: OpenJob) -> None:
    plain = asked(answerer, job, crop(5), NEVER)
    assert plain.verified is None
    assert {hit.verdict for hit in plain.hits} == {None}
    verified = asked(answerer, job, crop(5), k=COUNT)
    similarities = {hit.id: hit.similarity for hit in verified.hits}
    assert [hit.similarity for hit in plain.hits] == [similarities[hit.id] for hit in plain.hits]


def test_a_proven_image_is_among_the_hits_however_many_are_nearer(answerer: Answerer, job: OpenJob) -> None:
    query = Query(Fields().embed(scene(3)[None, ::2, ::2][:, :150, :150])[0], crop(5))
    plain = asked(answerer, job, query, NEVER, k=1).hits[0]
    assert plain.id != 5
    (first,) = asked(answerer, job, query, k=1).hits
    assert (first.id, first.verdict, first.rank) == (5, SAME_PICTURE, 1)
    assert first.similarity <= plain.similarity


@pytest.mark.parametrize("page", [np.full((900, 600, 3), 250, np.uint8), scene(99, 900, 600)], ids=["page", "picture"])
def test_views_find_what_is_pasted_into_another_picture(
    answerer: Answerer, job: OpenJob, page: NDArray[np.uint8]
) -> None:
    page = page.copy()
    page[500:860, 20:320] = scene(7)
    data = encoded(page)
    whole, views = (asked(answerer, job, data, NEVER, k=COUNT, views=count) for count in (1, 2))
    assert views.hits[0].id == 7
    assert views.hits[0].similarity > 0.999
    nearest = {hit.id: hit.similarity for hit in views.hits}
    assert all(nearest[hit.id] >= hit.similarity for hit in whole.hits)
    first = asked(answerer, job, data, views=2).hits[0]
    assert (first.id, first.verdict) == (7, SAME_PICTURE)
    assert first.evidence is not None
    assert first.evidence.query_overlap == pytest.approx(360 * 300 / (900 * 600), abs=0.02)


def test_a_vector_alone_gets_hits_and_a_sentence(answerer: Answerer, job: OpenJob) -> None:
    answer = asked(answerer, job, Query(Fields().embed(scene(3)[None, :300])[0]))
    assert len(answer.hits) == 5
    assert {hit.verdict for hit in answer.hits} == {None}
    assert answer.verified is not None
    assert answer.verified.reason is not None
    assert "no image of the query to compare, only its vector: search with the image itself" in answer.verified.reason


def test_images_that_are_gone_or_were_changed_have_no_verdict_and_are_counted(
    answerer: Answerer, job: OpenJob, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "LONG_AFTER", COUNT)
    shutil.copy(photos / "05.png", photos / "02.png")  # Now it shows what is asked for; what was embedded does not.
    (photos / "09.png").unlink()
    answer = asked(answerer, job, crop(5), k=COUNT)
    verdicts = {hit.id: hit.verdict for hit in answer.hits}
    assert verdicts == dict.fromkeys(range(COUNT), SIMILAR) | {5: SAME_PICTURE, 2: None, 9: None}
    told = answer.verified
    assert told is not None
    assert (told.candidates, told.compared, told.unread, told.reason) == (COUNT, COUNT - 2, 2, None)
    assert told.why_unread is not None
    assert "02.png" in told.why_unread or "09.png" in told.why_unread
    assert not told.is_whole


def test_where_no_image_is_in_reach_the_answer_says_so_and_equal_bytes_are_still_known(
    answerer: Answerer, job: OpenJob, photos: Path, tmp_path: Path
) -> None:
    own = (photos / "04.png").read_bytes()
    photos.rename(tmp_path / "away")
    answer = asked(answerer, job, crop(5))
    assert {hit.verdict for hit in answer.hits} == {None}
    assert answer.verified is not None
    assert answer.verified.reason is not None
    said = rf"The query worker can compare none of the {COUNT} nearest images; the first: .*\d\.png"
    assert re.match(said, answer.verified.reason)
    same = asked(answerer, job, own)
    assert (same.hits[0].id, same.hits[0].verdict) == (4, SAME_BYTES)
    assert same.verified is not None
    assert (same.verified.unread, same.verified.reason) == (COUNT - 1, None)
    (tmp_path / "away").rename(photos)
    assert asked(answerer, job, crop(5)).verified == Verified(COUNT, 1 + LONG_AFTER, ended=ENOUGH)


def test_a_picture_that_was_compared_once_is_not_read_again(
    answerer: Answerer, job: OpenJob, photos: Path, tmp_path: Path
) -> None:
    before = asked(answerer, job, encoded(scene(99)), k=COUNT)
    assert before.verified == Verified(COUNT, COUNT, ended=ALL, no_chances=NO_INDEX)
    photos.rename(tmp_path / "away")
    after = asked(answerer, job, crop(6), k=COUNT)
    assert after.verified == Verified(COUNT, 1 + LONG_AFTER, ended=ENOUGH)
    assert after.hits[0].id == 6


def test_auto_compares_what_is_near_enough_and_ends_once_it_is_enough(
    answerer: Answerer, job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "near", lambda similarities, bound: 0)
    far = asked(answerer, job, crop(5), AUTO)
    assert far.verified == Verified(ended=FAR)
    assert {hit.verdict for hit in far.hits} == {None}
    order = [hit.id for hit in asked(answerer, job, crop(5), NEVER, k=COUNT).hits]
    place = order.index(5)
    monkeypatch.setattr(cascade, "near", lambda similarities, bound: place + 1)
    near = asked(answerer, job, crop(5), AUTO, k=COUNT)
    assert near.verified == Verified(place + 1, place + 1, ended=FAR)
    assert near.hits[0].id == 5
    assert [hit.verdict for hit in near.hits if hit.id not in order[: place + 1]] == [None] * (COUNT - place - 1)
    monkeypatch.setattr(cascade, "near", lambda similarities, bound: len(similarities))
    enough = asked(answerer, job, Query(Fields().embed(scene(5)[None, :300])[0], encoded(scene(5))), AUTO)
    assert enough.verified is not None
    assert (enough.verified.ended, enough.verified.candidates) == (ENOUGH, COUNT)
    assert enough.verified.compared < COUNT


def test_what_is_like_a_proven_image_is_compared_next(
    answerer: Answerer, job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second, *_, last = (hit.id for hit in asked(answerer, job, encoded(scene(5)), NEVER, k=COUNT).hits)
    monkeypatch.setattr(Searcher, "alike", lambda self, hit, others: [float(other.id == last) for other in others])
    monkeypatch.setattr(cascade, "LONG_AFTER", 2)
    answer = asked(answerer, job, encoded(scene(5)), k=COUNT)
    assert answer.verified == Verified(COUNT, 3, ended=ENOUGH)
    judged = {hit.id: hit.verdict for hit in answer.hits if hit.verdict}
    assert judged == {5: SAME_BYTES, second: SIMILAR, last: SIMILAR}


def test_a_copy_whose_embedding_is_far_is_found_by_its_pdq_and_proven(
    answerer: Answerer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "near", lambda similarities, bound: 0)
    featured = made(str(photos), JobDir.at(tmp_path / "featured"))
    want_features(featured)
    for partition in featured.partitions:
        embed(featured, partition.number, embedder=AnyModel(featured.manifest))
    far = Fields().embed(scene(3)[None, :300])[0]
    copy = Query(far, encoded(np.ascontiguousarray(scene(5)[:, ::-1]), ".jpg"))
    (first,) = asked(answerer, featured, copy, AUTO, k=1).hits
    assert (first.id, first.verdict) == (5, SAME_PIXELS)
    every = asked(answerer, featured, copy, AUTO, k=COUNT)
    assert every.verified == Verified(1, 1, ended=FAR, looked_up=COUNT)
    assert len({hit.id for hit in every.hits}) == COUNT
    plain = {hit.id: hit.similarity for hit in asked(answerer, featured, copy, NEVER, k=COUNT).hits}
    assert {hit.id: pytest.approx(hit.similarity, abs=1e-6) for hit in every.hits} == plain
    # A vector has no picture, and an absent picture no near PDQ.
    assert asked(answerer, featured, Query(far), AUTO).verified == Verified(ended=FAR)
    absent = asked(answerer, featured, Query(far, encoded(scene(99))), AUTO)
    assert absent.verified == Verified(ended=FAR, looked_up=COUNT)

    others = SearchJob(featured.job_id, (copy,), 3, filter=Filter.of([1, 2, 3], None), verify=Verify(AUTO))
    (chosen,) = answerer.answer(featured, others)
    assert {hit.id for hit in chosen.hits} == {1, 2, 3}
    assert chosen.verified == Verified(ended=FAR, looked_up=COUNT)
    remove(featured, Asked(images=["5"]), lambda event: None)
    gone = asked(answerer, featured, copy, AUTO, k=COUNT)
    assert 5 not in {hit.id for hit in gone.hits}
    assert gone.verified == Verified(ended=FAR, looked_up=COUNT)


def test_no_more_candidates_are_compared_than_the_setting_allows(
    job: OpenJob, answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Answerer(replace(TEST, verify_candidates=3))
    try:
        answer = asked(few, job, encoded(scene(99)), k=COUNT)
        assert answer.verified == Verified(3, 3, ended=ALL, no_chances=NO_INDEX)
        assert [hit.verdict for hit in answer.hits] == [SIMILAR] * 3 + [None] * (COUNT - 3)
    finally:
        few.close()


def test_a_bundle_without_its_photos_is_verified_by_its_thumbnails(
    answerer: Answerer, job: OpenJob, photos: Path, tmp_path: Path
) -> None:
    merge(job, Settings(), UNWATCHED)
    bundle = bundle_of(open_job(job), tmp_path / "bundle", thumbnails=256)
    bare = bundle_of(open_job(job), tmp_path / "bare")
    photos.rename(tmp_path / "away")
    first = asked(answerer, bundle, crop(5)).hits[0]
    assert (first.id, first.verdict) == (5, SAME_PICTURE)
    assert first.evidence is not None
    assert first.evidence.matrix[0][0] == pytest.approx(1, abs=0.03), "in pixels of the photo"
    without = asked(answerer, bare, crop(5)).verified
    assert without is not None
    assert without.reason is not None
    assert "has no thumbnails" in without.reason
