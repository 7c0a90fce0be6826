"""A number for each path, so that millions of paths are compared in eight bytes each."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


def key_of(path: str) -> int:
    """A number of 64 bits, the same for the same path; among millions, two that share one are unheard of."""
    return int.from_bytes(blake2b(path.encode(), digest_size=8).digest(), "little")


def keys_of(paths: Iterable[str]) -> NDArray[np.uint64]:
    """The key of each path, uint64 [n], in order."""
    keys = array("Q", map(key_of, paths))
    return np.frombuffer(keys, np.uint64) if keys else np.empty(0, np.uint64)


class PathKeys:
    """Paths that are asked for one by one whether they are among some, by their keys."""

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        # An array, and no set: two million ints in a set take 150 MB. NumPy's own search takes longer for one key.
        self._keys = array("Q", np.unique(keys).tobytes())

    def __contains__(self, path: str) -> bool:
        key = key_of(path)
        place = bisect_left(self._keys, key)
        return place < len(self._keys) and self._keys[place] == key

    def __len__(self) -> int:
        return len(self._keys)
