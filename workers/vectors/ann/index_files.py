"""Read the files of an index, one or several shards, as one that can be searched, and take images out of one."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from workers.vectors.ann import faiss_index
from workers.vectors.ann.layers import graph_of, inside, ivf_of
from workers.vectors.ann.shards import Shards

# FAISS's stubs lack half of its names.
_faiss: Any = faiss


def load_all(paths: Sequence[Path], rows: Sequence[int], dim: int) -> Any:
    """Read the files of an index, each of which holds so many `rows`; raises as `faiss_index.load` does."""
    return together([faiss_index.load(path, ntotal=count, dim=dim) for path, count in zip(paths, rows, strict=True)])


def together(parts: Sequence[Any]) -> Any:
    """Indexes of one training, each with images of its own, as one that is searched; None where there are none."""
    return Shards(parts) if len(parts) > 1 else parts[0] if parts else None


def trained_as(index: Any) -> str:
    """A digest of what an index was trained to: its transforms, centroids and codes, and not the images in it.

    Only indexes of which it is the same may be shards of one: else the distances that they give can't be compared.
    """
    digest = hashlib.sha256()
    layers = inside(index)
    for layer in layers:
        if isinstance(layer, _faiss.IndexPreTransform):
            for place in range(layer.chain.size()):
                transform = faiss.downcast_VectorTransform(layer.chain.at(place))
                for name in ("A", "b"):
                    if hasattr(transform, name):
                        digest.update(faiss.vector_to_array(getattr(transform, name)).tobytes())
    ivf = ivf_of(index)
    if ivf is not None:
        digest.update(ivf.quantizer.reconstruct_n(0, ivf.nlist).tobytes())
    codes = faiss.downcast_index(layers[-1].storage) if graph_of(index) is not None else layers[-1]
    for owner, name in (("pq", "centroids"), ("sq", "trained")):
        if hasattr(codes, owner):
            digest.update(faiss.vector_to_array(getattr(getattr(codes, owner), name)).tobytes())
    return digest.hexdigest()


def emptied(path: Path, dim: int) -> Any:
    """The index in a file without its embeddings, trained as it was; raises as `faiss_index.load` does."""
    index = faiss_index.load(path, ntotal=None, dim=dim)
    index.reset()
    return index


def gives_up(factory: str, d: int) -> bool:
    """Whether images can be taken out of an index of a FAISS factory string, as `remove` does: not out of a graph."""
    try:
        faiss_index.empty(factory, d).remove_ids(np.empty(0, np.int64))
    except RuntimeError:
        return False
    return True


def remove(index: Any, ids: faiss_index.Ids) -> None:
    """Take images out of an index, int64 [n]; those that it does not hold don't matter."""
    index.remove_ids(np.ascontiguousarray(ids, dtype=np.int64))
