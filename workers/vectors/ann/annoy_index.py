"""Use Annoy as an index: the candidate stage of the article that this project grew from, to be compared with ours."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import SettingsError
from shared.errors.remedy import Remedy

_MAGIC = b"lookalike annoy 1\n"
_PIECE = 1 << 24


class AnnoyIndex:
    """Trees over the embeddings themselves; item numbers are row numbers, and each row has its image id.

    `d` is the dimension and `ntotal` the number of embeddings, by FAISS's names. Trees are built when the index is
    first written or searched, and nothing can be added after that.
    """

    def __init__(self, d: int, factory: str, seed: int = 0) -> None:
        self.d = d
        self._trees = int(factory.removeprefix("Annoy"))
        self._ids: list[npt.NDArray[np.int64]] = []
        self._rows = 0
        self._index = _annoy().AnnoyIndex(d, "euclidean")
        self._index.set_seed(seed + 1)  # To Annoy, 0 means "by default".
        self._built = False

    @property
    def ntotal(self) -> int:
        return self._rows

    def add_with_ids(self, block: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]) -> None:
        for vector in block:
            self._index.add_item(self._rows, vector)
            self._rows += 1
        self._ids.append(ids.copy())

    def candidates(
        self,
        queries: npt.NDArray[np.float32],
        depth: int,
        search_k: int,
        only: npt.NDArray[np.int64] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Image ids int64 [q, depth], as `workers.vectors.ann.faiss_index.candidates` gives them."""
        self._build()
        ids = self._all_ids()
        found = np.full((len(queries), depth), -1, dtype=np.int64)
        # Annoy has no filter: it returns all that it looks at, and the others are left out.
        asked = depth if only is None else min(self._rows, max(depth, search_k))
        for number, query in enumerate(queries):
            rows = self._index.get_nns_by_vector(query, asked, max(search_k, asked))
            near = ids[np.asarray(rows, dtype=np.int64)]
            if only is not None:
                near = near[np.isin(near, only)]
            near = near[:depth]
            found[number, : len(near)] = near
        return found

    def write(self, path: Path) -> None:
        """Write trees and ids as one file."""
        self._build()
        with tempfile.TemporaryDirectory() as directory:
            trees = Path(directory, "trees")
            self._index.save(str(trees))
            self._index.load(str(trees))  # Annoy forgets what it has saved until it maps the file.
            with open(path, "wb") as file, open(trees, "rb") as saved:
                file.write(_MAGIC + f"{self.d} {self._rows} {self._trees}\n".encode())
                file.write(self._all_ids().astype("<i8").tobytes())
                shutil.copyfileobj(saved, file, _PIECE)

    def _build(self) -> None:
        if not self._built:
            self._index.build(self._trees)
            self._built = True

    def _all_ids(self) -> npt.NDArray[np.int64]:
        if len(self._ids) != 1:
            self._ids = [np.concatenate([np.empty(0, np.int64), *self._ids])]
        return self._ids[0]


def is_one(path: Path) -> bool:
    """Whether `AnnoyIndex.write` wrote the file."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read(path: Path) -> AnnoyIndex:
    """Read what `AnnoyIndex.write` wrote; RuntimeError, as FAISS raises it, for a file that is cut short."""
    with open(path, "rb") as file:
        file.readline()
        try:
            d, rows, trees = map(int, file.readline().split())
            ids = np.frombuffer(file.read(8 * rows), dtype="<i8").astype(np.int64)
        except ValueError as error:
            raise RuntimeError(f"it has no whole head ({error})") from None
        index = AnnoyIndex(d, f"Annoy{trees}")
        # Annoy maps files that hold nothing else; a file that is removed while it is mapped stays usable.
        with tempfile.NamedTemporaryFile() as trees_alone:
            shutil.copyfileobj(file, trees_alone, _PIECE)
            trees_alone.flush()
            try:
                index._index.load(trees_alone.name)
            except OSError as error:
                raise RuntimeError(f"Annoy can't read it: {error}") from None
    if index._index.get_n_items() != rows or len(ids) != rows:
        raise RuntimeError(f"it holds {index._index.get_n_items()} vectors where its head says {rows}")
    index._ids, index._rows, index._built = [ids], rows, True
    return index


def _annoy() -> Any:
    try:
        import annoy
    except ImportError:
        raise SettingsError(
            "The index 'annoy' needs the package annoy, which is not installed where the index is built or searched",
            remedy=Remedy(
                "option",
                does="install it with pip install 'lookalike[annoy]', which compiles it, or ask for another index "
                "with {}",
                given={"index": "FAMILY"},
            ),
        ) from None
    return annoy
