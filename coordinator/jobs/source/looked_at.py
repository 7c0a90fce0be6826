"""Remember which files were read and found unchanged, so that the next comparison need not read them again."""

import io
import os
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.job.directory import JobDir
from shared.storage import files

_COLUMNS: Final = 4
_NONE: Final[NDArray[np.int64]] = np.empty((0, _COLUMNS), np.int64)


class LookedAt:
    """Files of a job whose times are later than its listing, and whose bytes are those that were embedded all the same.

    Kept in a file of the job that may be lost: image id, size, and the times of change of the file and of its inode.
    """

    def __init__(self, job: JobDir) -> None:
        self._job = job
        self._known = _read(job)
        self._new: list[tuple[int, int, int, int]] = []

    def knows(self, image_id: int, found: os.stat_result) -> bool:
        """Whether this very file was read and found unchanged before."""
        place = int(np.searchsorted(self._known[:, 0], image_id))
        return place < len(self._known) and self._known[place].tolist() == list(_row(image_id, found))

    def add(self, image_id: int, found: os.stat_result) -> None:
        """A file that was read and found unchanged."""
        self._new.append(_row(image_id, found))

    def write(self) -> None:
        """Write what is known now, if there is anything new. Raises OSError."""
        if not self._new:
            return
        new = np.array(self._new, np.int64)
        kept = self._known[~np.isin(self._known[:, 0], new[:, 0])]
        rows = np.concatenate([kept, new])
        file = io.BytesIO()
        np.lib.format.write_array(file, rows[np.argsort(rows[:, 0])], allow_pickle=False)
        files.write_bytes(self._job.looked_at, file.getvalue())


def _row(image_id: int, found: os.stat_result) -> tuple[int, int, int, int]:
    return image_id, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(job: JobDir) -> NDArray[np.int64]:
    """What was written last; nothing where the file is not there, or is not what was written."""
    try:
        rows: NDArray[np.int64] = np.lib.format.read_array(io.BytesIO(job.looked_at.read_bytes()), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return _NONE
    whole = rows.dtype == np.int64 and rows.ndim == 2 and rows.shape[1] == _COLUMNS
    return rows if whole and np.all(np.diff(rows[:, 0]) > 0) else _NONE
