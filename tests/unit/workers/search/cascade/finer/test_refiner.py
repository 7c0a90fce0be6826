"""Hits in the order of two models: which images the finer one compares, and what the answer says of the others."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.messages.finer import Finer
from shared.messages.query import Query
from shared.messages.search import Answer
from shared.messages.verdicts import SAME_PICTURE, SAME_PIXELS, SIMILAR
from shared.messages.verified import FAR as FAR_OFF
from shared.messages.verified import NEVER, SECONDS, Verified
from shared.settings import ANY_MODEL, Settings
from tests.support.answering import COUNT, Fields, asked, crop, encoded, scenes_in
from tests.support.bundles import bundle_of
from tests.support.controls import UNWATCHED
from tests.support.images.scenes import scene
from tests.support.onnx_files import WORDS, means_file
from tests.support.source_jobs import sealed
from workers.merge.build import merge
from workers.search.answer import Answerer
from workers.search.cascade import cascade, verification
from workers.search.cascade.finer import refiner
from workers.search.cascade.finer.models import FinerModels

pytestmark = pytest.mark.slow

FAR = Fields().embed(scene(3)[None, :300])[0]


class Pixels:
    """A finer model that sees more than four quarters: 64 of them."""

    dim, image_size, batch_size = 192, 32, 5

    def __init__(self) -> None:
        self.embedded = 0

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.embedded += len(images)
        fields = images.reshape(len(images), 8, 4, 8, 4, 3).mean(axis=(2, 4)).reshape(len(images), -1) - 128
        return (fields / np.linalg.norm(fields, axis=1, keepdims=True)).astype(np.float32)


class Asking:
    """Asks a worker for its finer model."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model, self._patch = Pixels(), monkeypatch
        self.finer = Finer.of(means_file(folder / "finer.onnx", notes={"lookalike.input": WORDS}))
        load: Any = lambda *arguments, **named: self.model  # noqa: E731
        monkeypatch.setattr(refiner, "FinerModels", lambda settings: FinerModels(settings, load))
        embedder: Any = Fields()
        monkeypatch.setattr("workers.search.answer.loaded_embedder", lambda *_: embedder)
        self._settings = Settings(query_threads=2, verify_seconds=120.0, finer_seconds=120.0)
        self._settings = self._settings.changed(finer_model=ANY_MODEL, cache_dir=folder / "cache")
        self._open = [Answerer(self._settings)]

    def __call__(self, job: JobDir, query: bytes | Query, how: str = NEVER, k: int = COUNT, **more: Any) -> Answer:
        return asked(self._open[-1], job, query, how, k, **({"finer": self.finer} | more))

    def another(self, **settings: Any) -> None:
        """Ask a worker from now on that has just been started."""
        self._open.append(Answerer(self._settings.changed(**settings)))

    def close(self) -> None:
        for answerer in self._open:
            answerer.close()


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asking]:
    made = Asking(tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return scenes_in(tmp_path / "photos")


@pytest.fixture
def job(photos: Path, tmp_path: Path) -> OpenJob:
    return sealed(str(photos), JobDir.at(tmp_path / "job"))


def similarities(answer: Answer) -> dict[int, float]:
    return {hit.id: hit.similarity for hit in answer.hits}


def test_both_models_order_the_hits_and_what_was_computed_is_cached(
    asking: Asking, job: OpenJob, photos: Path, tmp_path: Path
) -> None:
    query = Query(FAR, encoded(scene(5)))
    plain = asking(job, query, finer=None)
    assert plain.refined is None
    assert [(hit.finer, hit.fused) for hit in plain.hits] == [(None, None)] * COUNT
    assert plain.hits[0].id != 5
    answer = asking(job, query)
    assert answer.hits[0].id == 5
    assert answer.hits[0].finer == pytest.approx(1, abs=1e-3)
    assert similarities(answer) == similarities(plain)
    places = [hit.fused for hit in answer.hits]
    assert places == sorted(places, key=lambda place: -(place or 0))
    told = answer.refined
    assert told is not None
    assert (told.candidates, told.compared, told.unread, told.is_late, told.reason) == (COUNT, COUNT, 0, False, None)
    assert told.model.startswith("onnx@")
    assert asking.model.embedded == COUNT + 1

    photos.rename(tmp_path / "away")  # What is cached needs no image.
    assert asking(job, query).hits == answer.hits
    assert asking.model.embedded == COUNT + 1
    asking.another(finer_candidates=3)
    few = asking(job, query)
    assert asking.model.embedded == COUNT + 2, "by another worker the query alone"
    assert few.refined is not None
    assert (few.refined.candidates, few.refined.compared) == (3, 3)
    assert [hit.finer is None for hit in few.hits] == [False] * 3 + [True] * (COUNT - 3)


def test_proven_images_stay_in_front(asking: Asking, job: OpenJob) -> None:
    query = Query(Fields().embed(scene(5)[None, :300])[0], crop(7))
    answer = asking(job, query, "always")
    assert (answer.hits[0].id, answer.hits[0].verdict) == (7, SAME_PICTURE)
    places = [hit.fused or 0.0 for hit in answer.hits[1:]]
    assert places == sorted(places, reverse=True)


def test_what_the_finer_model_brings_forward_is_compared_before_it_is_shown(
    asking: Asking, job: OpenJob, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = Query(FAR, encoded(scene(5), ".jpg"))
    monkeypatch.setattr(cascade, "near", lambda similarities, bound: 0)
    before = asking(job, query, "auto", k=3, finer=None)
    assert before.verified == Verified(ended=FAR_OFF)
    assert 5 not in [hit.id for hit in before.hits]
    answer = asking(job, query, "auto", k=3)
    assert (answer.hits[0].id, answer.hits[0].verdict) == (5, SAME_PIXELS)
    assert {hit.verdict for hit in answer.hits[1:]} == {SIMILAR}
    assert answer.verified == Verified(3, 3, ended=FAR_OFF), "the three that are shown, and no more"

    monkeypatch.setattr(cascade, "near", lambda similarities, bound: 2)
    asking.another()  # One that remembers no image.
    (photos / f"{before.hits[0].id:02d}.png").unlink()
    absent = Query(FAR, encoded(scene(99)))
    answer = asking(job, absent, "auto", k=4)
    nearest = [hit.id for hit in asking(job, absent, finer=None).hits[:2]]
    told = answer.verified
    assert told is not None
    assert not told.is_whole
    verdicts = [hit.verdict for hit in answer.hits if hit.id != before.hits[0].id]
    assert verdicts == sorted(verdicts, key=lambda verdict: verdict is None), "none is in front of one that has more"
    new = {hit.id for hit in answer.hits} - set(nearest)
    assert new
    assert {hit.verdict for hit in answer.hits if hit.id in new} == {SIMILAR}
    assert (told.candidates, told.compared, told.unread) == (2 + len(new), 1 + len(new), 1), "each of them once"


def test_no_more_is_compared_for_the_finer_model_than_the_setting_allows_and_none_where_time_was_up(
    asking: Asking, job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Query(FAR, encoded(scene(99)))
    asking.another(verify_candidates=2)
    few = asking(job, absent, "always", k=6).verified
    assert few is not None
    assert (few.candidates, few.compared) == (4, 4), "two of the nearest, and two of those that it brought"
    monkeypatch.setattr(verification, "monotonic", lambda: math.inf)
    late = asking(job, absent, "always", k=6).verified
    assert late is not None
    assert (late.candidates, late.ended, late.is_whole) == (2, SECONDS, False)


def test_where_no_image_is_in_reach_the_order_is_that_of_before_and_the_answer_says_why(
    asking: Asking, job: OpenJob, photos: Path, tmp_path: Path
) -> None:
    query = Query(FAR, encoded(scene(5)))
    plain = asking(job, query, finer=None)
    photos.rename(tmp_path / "away")
    answer = asking(job, query)
    assert answer.hits == plain.hits
    assert answer.refined is not None
    assert answer.refined.reason is not None
    assert answer.refined.reason.startswith(
        f"The finer model can compare none of the {COUNT} nearest images; the first: "
    )
    vector = asking(job, Query(FAR))
    assert vector.refined is not None
    assert vector.refined.reason is not None
    assert "only its vector: search with the image itself" in vector.refined.reason
    assert [hit.finer for hit in vector.hits] == [None] * COUNT


def test_an_image_that_is_gone_or_changed_is_placed_by_its_similarity_and_counted(
    asking: Asking, job: OpenJob, photos: Path
) -> None:
    (photos / "02.png").write_bytes(encoded(scene(5)))  # What was embedded shows something else.
    (photos / "09.png").unlink()
    answer = asking(job, Query(FAR, encoded(scene(5))))
    assert {hit.id for hit in answer.hits if hit.finer is None} == {2, 9}
    assert all(hit.fused is not None for hit in answer.hits)
    assert answer.hits[0].id == 5
    told = answer.refined
    assert told is not None
    assert (told.compared, told.unread, told.reason) == (COUNT - 2, 2, None)
    assert told.why_unread is not None
    assert "02.png" in told.why_unread or "09.png" in told.why_unread


def test_what_was_not_reached_in_time_is_reached_by_the_next_search(
    asking: Asking, job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = Query(FAR, encoded(scene(5)))
    clock = itertools.count(0, 50)  # 120 seconds are over once a batch of five is embedded.
    monkeypatch.setattr(refiner, "monotonic", lambda: float(next(clock)))
    for compared in (5, 10, 12):
        told = asking(job, query).refined
        assert told is not None
        assert (told.compared, told.is_late, told.reason) == (compared, compared < COUNT, None)


def test_a_bundle_without_its_photos_is_compared_by_its_thumbnails_or_says_that_it_has_none(
    asking: Asking, job: OpenJob, photos: Path, tmp_path: Path
) -> None:
    merge(job, Settings(), UNWATCHED)
    bundle = bundle_of(open_job(job), tmp_path / "bundle", thumbnails=256)
    bare = bundle_of(open_job(job), tmp_path / "bare")
    photos.rename(tmp_path / "away")
    query = Query(FAR, encoded(scene(5)))
    without = asking(bare, query).refined
    assert without is not None
    assert without.reason is not None
    assert "has no thumbnails" in without.reason
    answer = asking(bundle, query)
    assert answer.hits[0].id == 5
    assert asking.model.embedded == COUNT + 1
    assert asking(bundle, query).hits == answer.hits
    assert asking.model.embedded == COUNT + 1, "thumbnails are cached by their own bytes"
    bare_again = asking(bare, query).refined
    assert bare_again is not None
    assert bare_again.compared == 0, "what was computed of a thumbnail is not that of its image"
