"""Start, read and end the process that writes the tars of a pack; one at a time in a directory."""

import os
import signal
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

from shared.errors import PackError
from shared.pack import listing
from shared.pack.directory import PackDir
from shared.processes.stage import speaking
from shared.storage.lock import open_locked

LOCK_SECONDS = 5.0
_PATIENCE_SECONDS = 15.0
# Signals by which a decoder ends its process. SIGKILL comes from a person or from a system without memory.
_CRASHES = frozenset([signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE])


@contextmanager
def packing_lock(directory: PackDir) -> Iterator[int | None]:
    """Yield an open file that keeps any other pack out of `directory` for as long as it is open in any process.

    Yields None if the file system has no locks, as on some mounts. Raises PackError when another pack still runs after
    some seconds: the process of a command that was killed ends within a moment.
    """
    handle, is_locked = _locked(directory)
    try:
        yield handle if is_locked else None
    finally:
        if not directory.spec.is_file():  # A source without images leaves nothing behind.
            directory.lock.unlink(missing_ok=True)
            with suppress(OSError):
                directory.path.rmdir()
        os.close(handle)


def _locked(directory: PackDir) -> tuple[int, bool]:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            locked = open_locked(directory.lock)
        except (FileExistsError, NotADirectoryError):
            raise PackError(f"{directory.path} is no directory, nor can it be made: name another one.") from None
        if locked is not None:
            return locked
        if time.monotonic() > deadline:
            raise PackError(
                f"Another process is packing into {directory.path}, or one that was killed still waits for its "
                "mount: wait for it, then run the same command."
            )
        time.sleep(0.1)


@contextmanager
def packer(directory: PackDir, threads: int, lock: int | None) -> Iterator[Iterator[dict[str, Any]]]:
    """Run the process that makes the tars, as the coordinator opens no image, and yield the objects that it prints.

    These say how far the pack is (`packed`, `failed`, `bytes`, `tars`), and the last one has the `result`. When images
    crash the process, another one continues after the last whole tar, and decodes those images in processes of their
    own. Raises the error that a process reports, or PackError if one ended without. Leaving the context drops the tar
    under way.
    """
    # It is not ended where its output is read: at Ctrl-C the command first says that the pack stops, then waits for it.
    with ExitStack() as processes:
        yield _said_by_each(directory, threads, lock, processes)


def _said_by_each(directory: PackDir, threads: int, lock: int | None, processes: ExitStack) -> Iterator[dict[str, Any]]:
    suspects: list[int] = []
    while True:
        crashed_over: list[int] = []
        said = processes.enter_context(_one_packer(directory, threads, lock, suspects, crashed_over))
        try:
            yield from said
            return
        except PackError:
            found = [image for image in crashed_over if image not in suspects]
            if not found:
                raise
            suspects += found
            processes.close()


@contextmanager
def _one_packer(
    directory: PackDir, threads: int, lock: int | None, suspects: Sequence[int], crashed_over: list[int]
) -> Iterator[Iterator[dict[str, Any]]]:
    """Run one such process. If it crashes, `crashed_over` gets the ids of the images that it was decoding."""
    # On this machine's own disk, as it is written to for each image and read only if the process crashes.
    with tempfile.TemporaryFile() as hand:

        def last_words(number: int) -> str:
            images = _in_hand(hand)
            if number in _CRASHES:
                crashed_over.extend(images)
            return _sentence(directory, images)

        words = [str(directory.path), "--threads", str(threads), "--in-hand", str(hand.fileno())]
        with speaking(
            "workers.pack.writer",
            [*words, *(word for image in suspects for word in ("--suspect", str(image)))],
            what=f"The process that packs {directory.path}",
            patience=_PATIENCE_SECONDS,
            ended=PackError,
            keep=[hand.fileno(), *([] if lock is None else [lock])],
            on_exit=last_words,
        ) as said:
            yield said


def _in_hand(hand: IO[bytes]) -> list[int]:
    """The ids of the images that were being decoded."""
    hand.seek(0)
    numbers = struct.unpack("<" + "q" * (len(noted := hand.read()) // 8), noted)
    return sorted(number - 1 for number in numbers if number)


def _sentence(directory: PackDir, images: Sequence[int]) -> str:
    """A sentence about the images that were being decoded; "" if there were none."""
    if not images:
        return ""
    paths = [next(listing.read_listing(directory, image)).image_path for image in images]
    return (
        f" It was decoding {', '.join(paths)}: run the same command, and if it ends there again, pack a list without "
        "that image into another directory."
    )
