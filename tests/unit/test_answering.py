"""Answers to queries, with a model that is not one: what the shell around it does is in the integration tests."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.errors import ImageError
from shared.messages import Query, SearchJob
from shared.settings import Settings
from tests.unit.make_job import make_job
from workers import answering
from workers.answering import Answerer
from workers.merging import merge

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
    merge(made.job, made.manifest, Settings(), lambda phase, share: None)
    embedder: Any = FakeEmbedder()
    monkeypatch.setattr(answering, "loaded_embedder", lambda *_: embedder)
    queries = [png((10, 20, 30)), png((0, 0, 0)), png((200, 20, 30))]
    message = SearchJob("job", tuple(Query(image=query) for query in queries), k=3)
    answerer = Answerer(Settings())
    for _ in range(2):  # A second time from what is remembered: the error must not have become a vector.
        first, black, last = answerer.answer(made.job, message)
        assert [len(first.hits), len(last.hits)] == [3, 3]
        assert isinstance(black.error, ImageError)
        assert black.error.status == "no-direction"
