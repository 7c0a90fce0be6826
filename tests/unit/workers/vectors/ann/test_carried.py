"""The index of a bundle: nothing of what was removed, and no whole embeddings."""

from typing import Any

import faiss
import numpy as np
import pytest

from tests.support.make_job import clustered
from workers.vectors.ann import carried
from workers.vectors.ann.faiss_index import Only, add, candidates, empty

pytestmark = pytest.mark.slow

VECTORS = clustered(1_000, 32, clusters=40)
IDS = np.arange(1_000) * 2 + 5
REMOVED = IDS[::7]


def index_of(factory: str) -> Any:
    index = empty(factory, 32)
    index.train(VECTORS)
    add(index, IDS, VECTORS)
    return index


@pytest.mark.parametrize("factory", ["PCAR16,IVF16,PQ8x4fs", "IVF16,Flat", "IDMap2,SQ8", "PCAR16,IVF16,RaBitQ"])
def test_an_index_without_images_finds_what_one_finds_that_may_not_find_them(factory: str) -> None:
    index, queries = index_of(factory), clustered(40, 32, clusters=40)
    expected = candidates(index, queries, 20, 16, Only(np.setdiff1d(IDS, REMOVED)))
    assert carried.without(index, REMOVED)
    assert index.ntotal == len(IDS) - len(REMOVED)
    found = candidates(index, queries, 20, 16)
    assert not np.isin(found, REMOVED).any()
    assert np.array_equal(np.sort(found, axis=1), np.sort(expected, axis=1))


def test_a_graph_gives_up_none() -> None:
    index = index_of("IDMap2,HNSW8,SQ8")
    assert not carried.without(index, REMOVED)


def test_a_flat_index_is_carried_as_codes_of_half_a_byte() -> None:
    index = index_of("IDMap2,Flat")
    assert carried.is_flat(index)
    coded = carried.coded_flat(32, VECTORS[:100], [(IDS[:600], VECTORS[:600]), (IDS[600:], VECTORS[600:])])
    assert not carried.is_flat(coded)
    assert len(faiss.serialize_index(coded)) < len(faiss.serialize_index(index)) / 3
    found, true = candidates(coded, VECTORS[:50], 60, 0), candidates(index, VECTORS[:50], 10, 0)
    assert np.mean([np.isin(few, many).mean() for few, many in zip(true, found, strict=True)]) > 0.98
