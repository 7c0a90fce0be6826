from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.truth.methods.asking import latencies
from benchmarks.truth.methods.cascade import Cascade, Features
from benchmarks.truth.methods.compared import Compared
from benchmarks.truth.methods.model import cosine
from benchmarks.truth.queries.alterations import KINDS
from benchmarks.truth.queries.collection import Photo, Query
from shared.models.preprocessing import REDUCED
from tests.support.embedders import FakeEmbedder
from tests.support.images.textured import textured, write_textured
from workers.images.encode import encode_jpeg

KIND = {kind.name: kind for kind in KINDS}


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return [Photo(path.name, path) for path in write_textured(tmp_path / "photos", 6)]


def query(original: int, kind: str) -> Query:
    return Query(original, kind, KIND[kind](textured(original), [], original))


def given(rows: Sequence[Sequence[float]]) -> Compared:
    """A cosine of made vectors: a photograph has the row of its place, a query that of its order."""
    found: npt.NDArray[np.float32] = np.array(rows, np.float32)
    taken = iter(found)
    return Compared(
        "cosine",
        "made",
        lambda files: np.eye(6, dtype=np.float32)[: len(files), None],
        lambda files: np.stack([next(taken) for _ in files])[:, None],
        8,
    )


def test_what_is_proven_comes_first_and_nothing_is_said_of_an_absent_original(photos: list[Photo]) -> None:
    asked = [query(2, "crop to 60 %"), query(4, "flip"), query(1, "crop to 60 %")]
    # The first is third by its cosine, the second first, the third beyond the candidates.
    rows: list[list[float]] = [[0.5, 0.9, 0.6, 0.8, 0, 0], [0, 0, 0, 0, 1, 0], [0.9, 0.1, 0.8, 0.7, 0.6, 0.5]]
    features = Features()
    method = Cascade(given(rows), features, 3)
    stored = method.store(photos)
    assert 8 + 1_000 < stored.bytes_per_image < 8 + 10_000
    (rule,) = method.judge(asked)
    told = [(outcome.rank, outcome.said, outcome.wrong) for outcome in rule.outcomes]
    assert told == [(1, "same picture", None), (1, "same pixels", None), (6, None, None)]


def test_a_twin_that_is_called_the_same_is_false_and_is_named(photos: list[Photo]) -> None:
    photos[5].path.write_bytes(encode_jpeg(textured(2), 60))
    method = Cascade(given([[0, 0.1, 0.5, 0.2, 0.3, 0.9]]), Features(), 3)
    method.store(photos)
    (rule,) = method.judge([query(2, "crop to 60 %")])
    (outcome,) = rule.outcomes
    # The twin was proven first, so it is first, and the original is behind it.
    assert (outcome.rank, outcome.said, outcome.wrong) == (2, None, 5)
    assert outcome.proof.startswith("same picture: ")


def test_a_query_is_timed_with_its_original_and_without(photos: list[Photo]) -> None:
    method = Cascade(cosine(FakeEmbedder(), 1, REDUCED), Features(), 3)
    method.store(photos)
    asked = [query(2, "crop to 60 %"), query(4, "jpeg quality 20")]
    order, verdict = method.ask(asked[1].data, None)
    assert order[0] == 4
    assert verdict is not None
    assert verdict.word == "same pixels"
    order, verdict = method.ask(asked[1].data, 4)
    assert (4 in order, verdict) == (False, None)
    found = latencies(method, asked, 5)
    assert (found["asked"], set(found)) == (2, {"asked", "present", "absent"})
    assert 0 < found["present"]["p50"] <= found["present"]["p90"]
    alone = cosine(FakeEmbedder(), 1, REDUCED)
    alone.store(photos)
    assert "absent" not in latencies(alone, asked, 1)
