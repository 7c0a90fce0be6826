from pathlib import Path

import numpy as np

from benchmarks.truth.methods.model import cosine
from benchmarks.truth.methods.views import squares
from benchmarks.truth.queries.collection import Photo, Query
from shared.models.preprocessing import REDUCED
from tests.support.embedders import DIM, FakeEmbedder
from tests.support.images.textured import textured, write_textured
from workers.images.encode import encode_jpeg


def test_a_query_is_seen_as_a_query_worker_sees_it_and_as_often_as_asked() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[:40, 160:] = (250, 0, 0)  # Upper right.
    image[80:120, 80:120] = (0, 0, 250)
    views = squares(encode_jpeg(image, 95), 32, 6)
    assert views.shape == (6, 32, 32, 3)
    assert [int(view[..., 2].max()) > 150 for view in views[:2]] == [True, True]
    assert max(float(view[12:20, 12:20, 2].mean()) for view in views[1:]) > 200, "the blue square fills a view"
    assert np.array_equal(squares(encode_jpeg(image, 95), 32, 1)[0], views[0])
    assert len(squares(encode_jpeg(np.full((1, 1, 3), 9, np.uint8), 95), 32, 6)) == 6


def test_the_best_view_counts_and_the_photographs_are_embedded_once(tmp_path: Path) -> None:
    photos = [Photo(path.name, path) for path in write_textured(tmp_path / "photos", 6)]
    one = cosine(FakeEmbedder(), 1, REDUCED)
    stored = one.store(photos)
    assert stored.bytes_per_image == 2 * DIM
    assert stored.cpu_ms > 0
    six = cosine(FakeEmbedder(), 6, REDUCED).like(one)
    assert six.store(photos) == stored
    asked = [Query(number, "jpeg quality 20", encode_jpeg(textured(number), 20)) for number in range(6)]
    alone, viewed = one.scores(asked), six.scores(asked)
    assert alone.shape == (6, 6)
    assert alone.argmax(axis=1).tolist() == list(range(6))
    assert (viewed >= alone - 1e-6).all()
    assert one.ask(asked[2].data, None)[0] == 2
    assert 2 not in one.ask(asked[2].data, 2)[:5]
