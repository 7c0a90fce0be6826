"""Note which images are being decoded, so that the process that started this one knows over which it ended."""

import os
import queue
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress


class InHand:
    """The images that are being decoded, at most one for each core: a decoded image takes a hundred times its bytes.

    `file` is an open file of 8 bytes for each core, that holds their ids from 1, or 0; None notes nothing. The images
    whose ids are `suspects`, as an earlier process ended over them, are to be decoded in processes of their own.
    """

    def __init__(self, file: int | None, suspects: Collection[int] = ()) -> None:
        self._file = file
        self._suspects = frozenset(suspects)
        self._free = queue.SimpleQueue[int]()
        for core in range(os.cpu_count() or 1):
            self._free.put(core)

    @contextmanager
    def holding(self, image: int) -> Iterator[bool]:
        """Wait for a core and note the image meanwhile; gives whether it is a suspect."""
        core = self._free.get()
        self._note(core, image + 1)
        try:
            yield image in self._suspects
        finally:
            self._note(core, 0)
            self._free.put(core)

    def _note(self, core: int, number: int) -> None:
        if self._file is not None:
            with suppress(OSError):  # A full disk costs only this note.
                os.pwrite(self._file, number.to_bytes(8, "little"), 8 * core)
