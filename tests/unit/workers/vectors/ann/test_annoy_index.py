from pathlib import Path

import numpy as np
import pytest

from shared.errors import CorruptFile, SettingsError
from shared.job.index.request import IndexRequest
from tests.support.make_job import clustered
from workers.vectors.ann import annoy_index, faiss_index, training
from workers.vectors.ann.plan import choose_index

PLAN = choose_index(2_000, 24, IndexRequest("annoy"))


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "annoy", None)
    with pytest.raises(SettingsError, match=r"pip install 'lookalike\[annoy\]'"):
        training.train(PLAN, None)


@pytest.fixture
def filled() -> annoy_index.AnnoyIndex:
    pytest.importorskip("annoy")
    made = training.train(PLAN, None)
    vectors = clustered(2_000, 24)
    for start in range(0, 2_000, 700):
        faiss_index.add(made, np.arange(2_000)[start : start + 700] * 5 + 1, vectors[start : start + 700])
    assert isinstance(made, annoy_index.AnnoyIndex)
    return made


def test_vectors_are_found_under_their_image_ids_also_after_a_read(
    filled: annoy_index.AnnoyIndex, tmp_path: Path
) -> None:
    vectors = clustered(2_000, 24)
    before = faiss_index.candidates(filled, vectors[:50], 20, PLAN.nprobe)
    assert before.shape == (50, 20)
    assert np.mean(before[:, 0] == np.arange(50) * 5 + 1) == 1.0
    faiss_index.save(filled, tmp_path / "index.faiss")
    assert [path.name for path in tmp_path.iterdir()] == ["index.faiss"]
    again = faiss_index.load(tmp_path / "index.faiss", ntotal=2_000, dim=24)
    assert np.array_equal(faiss_index.candidates(again, vectors[:50], 20, PLAN.nprobe), before)
    assert np.array_equal(faiss_index.candidates(filled, vectors[:50], 20, PLAN.nprobe), before)


def test_no_other_image_is_found_where_some_alone_may_be(filled: annoy_index.AnnoyIndex) -> None:
    vectors, only = clustered(2_000, 24), faiss_index.Only(np.arange(1, 10_000, 35))
    found = faiss_index.candidates(filled, vectors[:20], 10, PLAN.nprobe, only)
    assert np.isin(found, only.ids).all()
    exact = only.ids[np.argsort(-(vectors[:20] @ vectors[only.ids // 5].T), axis=1)[:, :10]]
    assert np.mean([len({*some} & {*all}) / 10 for some, all in zip(found, exact, strict=True)]) >= 0.95


@pytest.mark.parametrize("keep", [10, 30, 500, -100])
def test_a_file_cut_short_is_a_corrupt_file(filled: annoy_index.AnnoyIndex, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "index.faiss"
    faiss_index.save(filled, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptFile, match=r"index\.faiss"):
        faiss_index.load(path, ntotal=2_000, dim=24)
