"""Read image ids from a file: a text with one id a line, or the whole numbers of a .npy file."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.errors import QueryError
from shared.images.paths import expanded


def ids_in(path: Path) -> npt.NDArray[np.int64]:
    """The image ids of a file in its order, int64 [n]; - is standard input, which is text.

    Raises QueryError for a line that is no id, or an array that holds something else.
    """
    return _in_array(path) if path.suffix == ".npy" else _in_text(path)


def _in_array(path: Path) -> npt.NDArray[np.int64]:
    try:
        with open(expanded(path), "rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise QueryError(f"The image ids {path} can't be read as .npy: {error}.") from None
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise QueryError(f"The image ids {path} are {array.dtype} {list(array.shape)}; expected whole numbers [n].")
    wrong = np.flatnonzero((array < 0) | (array > np.iinfo(np.int64).max))
    if len(wrong):
        raise QueryError(f"Row {wrong[0]} of {path} is {array[wrong[0]]}; each must be one image id, like 4711.")
    return array.astype(np.int64)


def _in_text(path: Path) -> npt.NDArray[np.int64]:
    name = "standard input" if str(path) == "-" else str(path)
    try:
        text = sys.stdin.buffer.read().decode() if str(path) == "-" else expanded(path).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise QueryError(f"The list of image ids {name} can't be read: {error}.") from None
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        if not (line.strip().isascii() and line.strip().isdecimal() and len(line.strip()) <= 18):
            raise QueryError(f"Line {number} of {name} is {line.strip()!r:.80}; each must be one image id, like 4711.")
        found.append(int(line))
    return np.array(found, dtype=np.int64)
