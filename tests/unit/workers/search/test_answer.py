"""Answers to queries, with a model that is not one: what the shell around it does is in the integration tests."""

import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.errors import ImageError, QueryError
from shared.job.opened import with_manifest
from shared.messages.filter import Filter
from shared.messages.query import Query
from shared.messages.search import SearchJob
from shared.models import resolve_model
from shared.models.imported import imported_model
from shared.models.preprocessing import DECODES
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.images.ending_decoders import ending
from tests.support.make_job import make_job
from workers.images.decode import decode
from workers.merge.build import merge
from workers.search import pool
from workers.search.answer import Answerer
from workers.search.decoding.processes import DecodingProcesses

pytestmark = pytest.mark.slow

DIM = 16


class FakeEmbedder:
    """A direction from an image's colours; none for a black one."""

    def embed(self, images: np.ndarray) -> np.ndarray:
        colours = images.reshape(len(images), -1, 3).mean(axis=1)
        features = np.concatenate([colours, np.zeros((len(images), DIM - 3))], axis=1)
        with np.errstate(invalid="ignore"):
            return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def png(colour: tuple[int, int, int]) -> bytes:
    done, encoded = cv2.imencode(".png", np.full((20, 20, 3), colour, np.uint8))
    assert done
    return encoded.tobytes()


def test_a_query_image_without_a_direction_has_its_error_and_the_others_their_hits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_job(tmp_path / "job", listed=30, dim=DIM, partition_size=30)
    merge(made.job, Settings(), UNWATCHED)
    embedder: Any = FakeEmbedder()
    monkeypatch.setattr("workers.search.answer.loaded_embedder", lambda *_: embedder)
    queries = [png((10, 20, 30)), png((0, 0, 0)), png((200, 20, 30))]
    message = SearchJob("job", tuple(Query(image=query) for query in queries), k=3)
    answerer = Answerer(Settings())
    for _ in range(2):  # A second time from what is remembered: the error must not have become a vector.
        first, black, last = answerer.answer(made.job, message)
        assert [len(first.hits), len(last.hits)] == [3, 3]
        assert isinstance(black.error, ImageError)
        assert black.error.status == "no-direction"


@pytest.mark.parametrize(
    ("bad", "status", "words"),
    [
        (b"crash", "quarantined", r"Query 2 of 3: Each process .* \(signal SIGSEGV, signal SIGSEGV\)"),
        (b"hang", "quarantined", r"Query 2 of 3: .* was not decoded within 0\.5 s"),
        pytest.param(
            b"swell",
            "oversized",
            "more than 300,000,000 bytes",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="Only Linux bounds a process's own memory."),
        ),
    ],
)
def test_a_query_image_that_ends_its_process_costs_its_own_answer_alone(
    bad: bytes, status: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_job(tmp_path / "job", listed=30, dim=DIM, partition_size=30)
    merge(made.job, Settings(), UNWATCHED)
    embedder: Any = FakeEmbedder()
    monkeypatch.setattr("workers.search.answer.loaded_embedder", lambda *_: embedder)
    monkeypatch.setattr("workers.search.answer.DecodingProcesses", lambda *given: ending(DecodingProcesses(*given)))
    answerer = Answerer(Settings(query_threads=2, decode_seconds=0.5, decode_memory_bytes=300_000_000))
    queries = [png((10, 20, 30)), bad, png((200, 20, 30))]
    message = SearchJob("job", tuple(Query(image=query) for query in queries), k=3)
    alone = [answerer.answer(made.job, SearchJob("job", (Query(image=query),), k=3))[0] for query in queries[::2]]
    first, refused, last = answerer.answer(made.job, message)
    assert [first.hits, last.hits] == [answer.hits for answer in alone]
    assert len(first.hits) == 3
    assert isinstance(refused.error, ImageError)
    assert refused.error.status == status
    assert re.search(words, str(refused.error))
    assert len(answerer._decoders.pids) == 2, "as many as before"


@pytest.mark.parametrize("how", DECODES)
def test_a_query_image_is_decoded_in_the_way_of_its_job(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_job(tmp_path / "job", listed=30, dim=DIM, partition_size=30)
    merge(made.job, Settings(), UNWATCHED)
    spec = replace(made.job.manifest.model, preprocessing=resolve_model("efficientnet-b0", decode=how).preprocessing)
    monkeypatch.setattr(pool, "open_job", lambda job: with_manifest(job, replace(made.job.manifest, model=spec)))
    seen: list[np.ndarray] = []

    class Seeing(FakeEmbedder):
        def embed(self, images: np.ndarray) -> np.ndarray:
            seen.append(images)
            return super().embed(images)

    monkeypatch.setattr("workers.search.answer.loaded_embedder", lambda *_: Seeing())
    noise = np.random.default_rng(3).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    done, encoded = cv2.imencode(".png", noise)
    assert done
    Answerer(Settings()).answer(made.job, SearchJob("job", (Query(image=encoded.tobytes()),), k=1))
    expected = {way: decode(encoded.tobytes(), spec.image_size, 10**6, way).pixels for way in DECODES}
    assert not np.array_equal(expected["reduced"], expected["strict"])
    np.testing.assert_array_equal(seen[0][0], expected[how])


def test_an_image_can_not_be_asked_of_vectors_that_were_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_job(tmp_path / "job", listed=30, dim=DIM, partition_size=30)
    merge(made.job, Settings(), UNWATCHED)
    imported = replace(made.job.manifest, model=imported_model("theirs", DIM))
    monkeypatch.setattr(pool, "open_job", lambda job: with_manifest(job, imported))
    own = made.embeddings[7].astype(np.float32)
    message = SearchJob("job", (Query(image=png((9, 8, 7))), Query(vector=own)), k=1)
    image, vector = Answerer(Settings()).answer(made.job, message)
    assert isinstance(image.error, QueryError)
    assert re.search(r"job was imported as vectors \(theirs\), .* send a vector of 16 values", str(image.error))
    assert [hit.id for hit in vector.hits] == [7]


def test_the_filter_of_a_message_limits_its_hits_and_the_bad_query_stays_alone(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", listed=30, dim=DIM, partition_size=30)
    merge(made.job, Settings(), UNWATCHED)
    own = made.embeddings[7].astype(np.float32)
    queries = (Query(vector=own), Query(vector=np.full(DIM, np.nan, np.float32)))
    good, bad = Answerer(Settings()).answer(made.job, SearchJob("job", queries, 40, filter=Filter(where="id > 20")))
    assert sorted(hit.id for hit in good.hits) == list(range(21, 30))
    assert "not a finite number" in str(bad.error)
    with pytest.raises(QueryError, match="31"):
        Answerer(Settings()).answer(made.job, SearchJob("job", queries, filter=Filter(ids=np.array([31]))))


def test_only_one_thread_is_in_the_model_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = []
    most: list[int] = []

    class Counting(FakeEmbedder):
        def embed(self, images: np.ndarray) -> np.ndarray:
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.002)  # Time for others to come in.
            inside.pop()
            return super().embed(images)

    made = make_job(tmp_path / "job", listed=30, dim=DIM, partition_size=30)
    merge(made.job, Settings(), UNWATCHED)
    embedder: Any = Counting()
    monkeypatch.setattr("workers.search.answer.loaded_embedder", lambda *_: embedder)
    answerer = Answerer(Settings())
    messages = [SearchJob("job", (Query(image=png((number, 20, 30))),), k=2) for number in range(1, 13)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda message: answerer.answer(made.job, message)[0], messages))
    assert [len(answer.hits) for answer in answers] == [2] * 12
    assert (len(most), max(most)) == (12, 1)
