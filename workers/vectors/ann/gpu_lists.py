"""Train the lists of an IVF index, and assign embeddings to them, on a GPU if faiss-gpu finds one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss

# FAISS's stubs lack half of its names, and only faiss-gpu has those for a GPU.
_faiss: Any = faiss


def is_there() -> bool:
    """Whether FAISS finds a GPU here."""
    return bool(getattr(_faiss, "get_num_gpus", lambda: 0)()) and hasattr(_faiss, "StandardGpuResources")


@contextmanager
def training(ivf: Any | None) -> Iterator[None]:
    """During the block, training `ivf` clusters on the GPU. Without a GPU, or for None, nothing changes."""
    if ivf is None or not is_there():
        yield
        return
    with _on_gpu(faiss.IndexFlatL2(ivf.d)) as clusters:
        before, ivf.clustering_index = ivf.clustering_index, clusters
        clusters.this.own(True)  # Setting it has passed its ownership on.
        try:
            yield
        finally:
            ivf.clustering_index = before


@contextmanager
def adding(ivf: Any | None) -> Iterator[None]:
    """During the block, `ivf` asks the GPU for the list of an embedding, which compares it with every centroid.

    Meanwhile it may only be added to, and must not be written: its quantizer is not its own. Without a GPU, or for
    None, nothing changes.
    """
    if ivf is None or not is_there():
        yield
        return
    own = ivf.quantizer
    with _on_gpu(_centroids(own)) as quantizer:
        ivf.quantizer = quantizer
        quantizer.this.own(True)
        try:
            yield
        finally:
            ivf.quantizer = own


def _centroids(quantizer: Any) -> Any:
    """The flat index of the centroids: the quantizer itself, or the one below its graph."""
    quantizer = faiss.downcast_index(quantizer)
    return faiss.downcast_index(quantizer.storage) if isinstance(quantizer, faiss.IndexHNSW) else quantizer


@contextmanager
def _on_gpu(flat: Any) -> Iterator[Any]:
    """A copy of `flat` on the first GPU: a few megabytes, which more GPUs would not compare faster."""
    resources = _faiss.StandardGpuResources()
    copy = _faiss.index_cpu_to_gpu(resources, 0, flat)
    yield copy
    del copy, resources
