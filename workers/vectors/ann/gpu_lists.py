"""The centroids of an IVF index on a GPU, where faiss-gpu is installed and finds one: for training and for adding."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss

# Its stubs lack half of what it has, and what a GPU needs is in faiss-gpu alone.
_faiss: Any = faiss


def is_there() -> bool:
    """Whether FAISS finds a GPU here."""
    return bool(getattr(_faiss, "get_num_gpus", lambda: 0)()) and hasattr(_faiss, "StandardGpuResources")


@contextmanager
def training(ivf: Any | None) -> Iterator[None]:
    """While it lasts, training `ivf` clusters on the GPU. Without a GPU, or for None, nothing changes."""
    if ivf is None or not is_there():
        yield
        return
    with _on_gpu(faiss.IndexFlatL2(ivf.d)) as clusters:
        before, ivf.clustering_index = ivf.clustering_index, clusters
        clusters.this.own(True)  # Setting it has given it away.
        try:
            yield
        finally:
            ivf.clustering_index = before


@contextmanager
def adding(ivf: Any | None) -> Iterator[None]:
    """While it lasts, `ivf` asks the GPU in which list an embedding belongs, comparing it with every centroid.

    Nothing but adding may be done with it meanwhile, least of all writing it: its quantizer is not its own. Without a
    GPU, or for None, nothing changes.
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
    """The flat index of the centroids: the quantizer itself, or what its graph is made over."""
    quantizer = faiss.downcast_index(quantizer)
    return faiss.downcast_index(quantizer.storage) if isinstance(quantizer, faiss.IndexHNSW) else quantizer


@contextmanager
def _on_gpu(flat: Any) -> Iterator[Any]:
    """A copy of `flat` on the first GPU: a few megabytes, which more GPUs would not compare any sooner."""
    resources = _faiss.StandardGpuResources()
    copy = _faiss.index_cpu_to_gpu(resources, 0, flat)
    yield copy
    del copy, resources
