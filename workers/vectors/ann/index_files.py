"""Read the files of an index, one or several shards, as one index that can be searched."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.vectors.ann import faiss_index
from workers.vectors.ann.shards import Shards


def load_all(paths: Sequence[Path], rows: Sequence[int], dim: int) -> Any:
    """Read the files of an index, each of which holds so many `rows`; raises as `faiss_index.load` does."""
    return together([faiss_index.load(path, ntotal=count, dim=dim) for path, count in zip(paths, rows, strict=True)])


def together(parts: Sequence[Any]) -> Any:
    """Indexes of one training, each with images of its own, as one that is searched."""
    return parts[0] if len(parts) == 1 else Shards(parts)


def emptied(path: Path, dim: int) -> Any:
    """The index in a file without its embeddings, trained as it was; raises as `faiss_index.load` does."""
    index = faiss_index.load(path, ntotal=None, dim=dim)
    index.reset()
    return index
