"""Find the PDQs that differ from one in at most 31 of their 256 bits, among millions, without a look at most of them.

Of two hashes that differ in at most 31 bits, one of their sixteen parts of 16 bits differs in at most one: two in
each would make 32. So what has a part within one bit of that of the query is compared with it, and nothing is missed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import CorruptFile
from workers.verify.pdq import BYTES, LEAST_QUALITY, Hash

MOST_BITS: Final = 31
"""The largest distance within which every hash is found."""
_PARTS: Final = 16
_KEYS: Final = 1 << 16
_NEAR: Final = np.array([0, *(1 << bit for bit in range(16))], np.uint16)
_WORDS: Final = np.dtype("<u8")
_NAMES: Final = ("hashes", "groups", "rows", "starts", "members")


@dataclass(frozen=True, slots=True, eq=False)
class PdqIndex:
    """The hashes of many images, each once, however many images have it; arrays in memory or mapped.

    `hashes` is uint64 [u, 4]; the images of hash h are `rows[groups[h]:groups[h + 1]]`, int64. The hashes whose part p
    is the number k are `members[starts[p, k]:starts[p, k + 1]]`, uint32. Several threads may ask at once.
    """

    hashes: NDArray[np.uint64]
    groups: NDArray[np.int64]
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    members: NDArray[np.uint32]

    @classmethod
    def build(cls, hashes: NDArray[np.uint8], quality: NDArray[np.uint8]) -> "PdqIndex":
        """An index of `hashes`, uint8 [n, 32]: the image of each is its row. Those of a quality below 50 are left out.

        Raises ValueError for arrays of other shapes or types.
        """
        if hashes.dtype != np.uint8 or hashes.ndim != 2 or hashes.shape[1] != BYTES or len(quality) != len(hashes):
            raise ValueError(f"Hashes are uint8 [n, {BYTES}] with a quality each, not {hashes.dtype} {hashes.shape}.")
        rows = np.flatnonzero(np.asarray(quality) >= LEAST_QUALITY)
        words = np.ascontiguousarray(hashes[rows]).view(_WORDS)
        # By all four words, the images of a hash in their order.
        order = np.lexsort(words.T)
        words, rows = words[order], rows[order]
        first = np.ones(len(words), bool)
        first[1:] = np.any(words[1:] != words[:-1], axis=1)
        unique = np.ascontiguousarray(words[first])
        groups = np.append(np.flatnonzero(first), len(words)).astype(np.int64)
        parts = unique.view(np.uint16).reshape(-1, _PARTS)
        starts = np.zeros((_PARTS, _KEYS + 1), np.int64)
        members = np.empty(_PARTS * len(unique), np.uint32)
        for part in range(_PARTS):
            keys = np.ascontiguousarray(parts[:, part])
            members[part * len(unique) : (part + 1) * len(unique)] = np.argsort(keys, kind="stable")
            starts[part, 1:] = np.cumsum(np.bincount(keys, minlength=_KEYS))
            starts[part] += part * len(unique)
        return cls(unique, groups, rows.astype(np.int64), starts, members)

    def __len__(self) -> int:
        """How many images can be found."""
        return len(self.rows)

    def find(
        self, query: Hash, quality: int, within: int = MOST_BITS, most: int = 100
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows of the nearest images whose hash differs from `query` in at most `within` bits, and the distances.

        Both are int64 [k], k at most `most`, by distance, then by row. A query of a quality below 50 finds nothing.
        Raises ValueError for a distance beyond 31, within which not all would be found.
        """
        if not 0 <= within <= MOST_BITS:
            raise ValueError(f"Hashes are found within 0 to {MOST_BITS} bits, not within {within}.")
        nothing = np.empty(0, np.int64)
        if quality < LEAST_QUALITY or not len(self.hashes):
            return nothing, nothing
        words = np.ascontiguousarray(query, np.uint8).view(_WORDS)
        keys = words.view(np.uint16)[:, None] ^ _NEAR
        parts = np.arange(_PARTS)[:, None]
        begin, end = self.starts[parts, keys].ravel().tolist(), self.starts[parts, keys.astype(np.int64) + 1].ravel()
        some = [self.members[a:b] for a, b in zip(begin, end.tolist(), strict=True) if b > a]
        if not some:
            return nothing, nothing
        candidates = np.concatenate(some)
        bits = np.bitwise_count(np.take(self.hashes, candidates, axis=0) ^ words)
        far = bits[:, 0].astype(np.int64)
        for word in range(1, bits.shape[1]):
            far += bits[:, word]
        near = np.flatnonzero(far <= within)
        found, place = np.unique(candidates[near].astype(np.int64), return_index=True)
        far = far[near][place]
        if not len(found):
            return nothing, nothing
        # Of the nearest hashes as many as give enough images, and all that are as near: the lowest rows come first. A
        # hash of a million equal pictures gives no more of them than are wanted.
        order = np.argsort(far, kind="stable")
        begins, ends = self.groups[found][order], self.groups[found + 1][order]
        counts = np.cumsum(np.minimum(ends - begins, most))
        last = min(int(np.searchsorted(counts, most)), len(order) - 1)
        wanted = far[order] <= far[order[last]]
        spans = [
            range(first, min(end, first + most))
            for first, end in zip(begins[wanted].tolist(), ends[wanted].tolist(), strict=True)
        ]
        rows = self.rows[np.fromiter(chain.from_iterable(spans), np.int64)]
        away = np.repeat(far[order][wanted], [len(span) for span in spans])
        best = np.lexsort((rows, away))[:most]
        return rows[best], away[best]

    def save(self, directory: Path) -> None:
        """Write the arrays into a directory that is there, to be mapped by `open`."""
        for name, array in self._arrays().items():
            np.save(directory / f"{name}.npy", array, allow_pickle=False)

    @classmethod
    def open(cls, directory: Path) -> "PdqIndex":
        """Map what `save` wrote; CorruptFile where that is not whole."""
        try:
            found = {name: np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _NAMES}
            index = cls(**{name: array.view(np.ndarray) for name, array in found.items()})
            hashes, starts = index.hashes, index.starts
            fits = (
                hashes.shape == (len(index.groups) - 1, 4)
                and starts.shape == (_PARTS, _KEYS + 1)
                and len(index.members) == _PARTS * len(hashes) == int(starts[-1, -1])
                and len(index.rows) == int(index.groups[-1])
            )
        except (OSError, ValueError, EOFError, IndexError, TypeError) as error:
            raise CorruptFile(f"The look-up of PDQs in {directory} can't be read ({error}): make it anew.") from None
        if not fits:
            raise CorruptFile(f"The arrays of the look-up of PDQs in {directory} don't fit together: make it anew.")
        return index

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in _NAMES}
