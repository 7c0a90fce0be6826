"""Find the parts of a FAISS index behind its wrappers: the transforms, the lists or the graph."""

from typing import Any

import faiss

from workers.vectors.ann.shards import first_of

# FAISS's stubs lack half of its names.
_faiss: Any = faiss


def inside(index: Any) -> list[Any]:
    """An index and those that it wraps, from the outside in; of shards those of the first, as all are trained alike."""
    layers: list[Any] = [first_of(index)]
    while isinstance(layers[-1], faiss.IndexIDMap | faiss.IndexIDMap2 | faiss.IndexPreTransform):
        layers.append(faiss.downcast_index(layers[-1].index))
    return layers


def ivf_of(index: Any) -> Any | None:
    """The IVF part of an index, or None when it has none."""
    inner = inside(index)[-1]
    return inner if isinstance(inner, faiss.IndexIVF) else None


def graph_of(index: Any) -> Any | None:
    """The HNSW part of an index, or None when it has none."""
    inner = inside(index)[-1]
    return inner if isinstance(inner, faiss.IndexHNSW) else None


def bare_ivf(index: Any) -> tuple[list[Any], Any] | None:
    """The transforms before the IVF part of an index, in their order, and that part; None when it has none, or when a
    wrapper gives the images other ids.
    """
    layers = inside(index)
    if not isinstance(layers[-1], faiss.IndexIVF):
        return None
    chain = []
    for layer in layers[:-1]:
        if not isinstance(layer, _faiss.IndexPreTransform):
            return None
        chain += [faiss.downcast_VectorTransform(layer.chain.at(place)) for place in range(layer.chain.size())]
    return chain, layers[-1]


def pca_to_train(index: Any) -> tuple[Any, Any] | None:
    """The layer that has only a PCA to be trained before the codes, and that PCA; None if there is none."""
    for layer in inside(index):
        if isinstance(layer, _faiss.IndexPreTransform) and layer.chain.size() == 1:
            transform = faiss.downcast_VectorTransform(layer.chain.at(0))
            if isinstance(transform, faiss.PCAMatrix) and not transform.is_trained and transform.eigen_power == 0:
                return layer, transform
    return None
