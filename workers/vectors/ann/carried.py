"""The index of a job as a bundle carries it: without removed images, and a flat one in half a byte a value."""

from collections.abc import Iterable
from typing import Any, Final

import faiss
import numpy as np

from workers.vectors.ann import annoy_index
from workers.vectors.ann.faiss_index import Floats, Ids, add, empty
from workers.vectors.ann.layers import inside

_faiss: Any = faiss
FLAT_CODES: Final = "IDMap2,SQ4"
"""What takes the place of a flat index, which holds whole embeddings: candidates need no more."""


def is_flat(index: Any) -> bool:
    """Whether an index holds the embeddings themselves, one by one."""
    return not isinstance(index, annoy_index.AnnoyIndex) and isinstance(inside(index)[-1], faiss.IndexFlat)


def coded_flat(dim: int, sample: Floats, blocks: Iterable[tuple[Ids, Floats]]) -> Any:
    """An index of embeddings in half a byte a value: trained on `sample`, float32 [n, d], filled from `blocks`, each
    image ids int64 [n] and float32 [n, d].
    """
    index = empty(FLAT_CODES, dim)
    index.train(np.ascontiguousarray(sample, np.float32))
    for ids, block in blocks:
        add(index, ids, block)
    return index


def without(index: Any, ids: Ids) -> bool:
    """Remove the images `ids`, int64 ascending, each of them held, from an index; False where it can't give up any."""
    if isinstance(index, annoy_index.AnnoyIndex):
        return False
    before = index.ntotal
    try:
        index.remove_ids(_faiss.IDSelectorBatch(np.ascontiguousarray(ids, np.int64)))
    except RuntimeError:  # Such as a graph, whose images lead to each other.
        return False
    return bool(index.ntotal == before - len(ids))
