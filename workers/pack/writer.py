"""Write a pack tar by tar, or resume it: `python -m workers.pack.writer DIR`, JSON lines on stdout."""

import argparse
import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from shared.errors import PackError
from shared.pack import listing, tables
from shared.pack.directory import PackDir, PackSpec, load_spec
from shared.pack.tables import Block, Packed, PackRow
from shared.processes.control import Stopped
from shared.processes.stage import exit_status, say
from shared.storage import files
from workers.images.stream import stream_images
from workers.pack.reader import PackImage, PackReader
from workers.pack.tar import TarFile

SAY_SECONDS: Final = 0.5
_AHEAD = 2  # How many images are read, or being read, for each thread: this bounds the memory of a pack.
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class Count:
    """How far a pack is: `tars` are whole; images, and the bytes of them, also count those of the tar under way."""

    packed: int = 0
    failed: int = 0
    bytes: int = 0
    tars: int = 0


def pack(
    directory: PackDir,
    threads: int,
    stop: threading.Event,
    report: Callable[[Count], None],
    in_hand: int | None = None,
    suspects: Collection[int] = (),
) -> Packed:
    """Pack the images of `directory` that are not packed yet, and join the rows.

    `report` is called after each image; `in_hand` and `suspects` are for `PackReader`. Raises Stopped soon after `stop`
    is set, when the tar under way is dropped; PackError when files there are damaged; SourceError when the images are
    out of reach; OSError when the disk does not take the tars.
    """
    spec = load_spec(directory)
    if (whole := tables.read_whole(directory)) is not None:
        tables.require_tars(directory, whole.tars)
        _remove_blocks(directory)
        return whole
    blocks = tables.committed_blocks(directory, spec)
    _remove_leftovers(directory)
    done = blocks[-1].stop if blocks else 0
    count = Count(
        packed=sum(block.packed for block in blocks),
        failed=sum(block.failed for block in blocks),
        bytes=sum(block.bytes for block in blocks),
        tars=sum(block.tar is not None for block in blocks),
    )
    report(count)
    listed = listing.read_listing(directory, done)
    reader = PackReader(spec, stop.wait, in_hand, suspects)
    with closing(stream_images(listed, read=reader.read, threads=threads, ahead=_AHEAD * threads)) as images:
        stream = _Ahead(_until(stop, images))
        while stream.next() is not None:
            blocks.append(_pack_block(directory, spec, len(blocks), stream, count, report))
    whole = tables.join(directory, spec, blocks)
    _remove_blocks(directory)
    return whole


class _Ahead:
    """A stream of images whose next one can be looked at before it is taken. It waits for the image only then: a full
    tar does not need the mount any more.
    """

    def __init__(self, images: Iterator[PackImage]) -> None:
        self._images = images
        self._next: PackImage | None = None

    def next(self) -> PackImage | None:
        if self._next is None:
            self._next = next(self._images, None)
        return self._next

    def take(self) -> None:
        self._next = None


def _until(stop: threading.Event, images: Iterator[PackImage]) -> Iterator[PackImage]:
    for image in images:
        if stop.is_set():
            raise Stopped
        yield image


def _pack_block(
    directory: PackDir, spec: PackSpec, number: int, stream: _Ahead, count: Count, report: Callable[[Count], None]
) -> Block:
    """Write one tar, up to its bounds, and then the rows of its images, with which it counts."""
    name = spec.tar_name(count.tars)
    rows: list[PackRow] = []
    size = packed = 0
    before = count.bytes
    with ExitStack() as ending:
        tar: TarFile | None = None
        while len(rows) < spec.images_per_tar and (image := stream.next()) is not None:
            if image.data is not None:
                if tar is None:  # There is none for images that all failed.
                    tar = ending.enter_context(TarFile(ending.enter_context(files.written_aside(directory.tar(name)))))
                elif tar.size_with(image.member, len(image.data)) > spec.tar_bytes:
                    break
                tar.add(image.member, image.data)
                packed += 1
                count.bytes += len(image.data)
            count.packed, count.failed = count.packed + (image.data is not None), count.failed + (image.data is None)
            rows.append(_row(image, name))
            stream.take()
            report(count)
        size = 0 if tar is None else tar.size
    start = rows[0].id
    block = Block(
        number=number,
        start=start,
        stop=start + len(rows),
        tar=name if packed else None,
        tar_bytes=size,
        bytes=count.bytes - before,
        packed=packed,
        failed=len(rows) - packed,
    )
    tables.commit_block(directory, block, rows)
    count.tars += packed > 0
    return block


def _row(image: PackImage, tar: str) -> PackRow:
    ok = image.data is not None
    return PackRow(
        id=image.id,
        image_path=image.image_path,
        tar=tar if ok else None,
        member=image.member if ok else None,
        bytes=None if image.data is None else len(image.data),
        sha256=image.sha256,
        resized=image.resized if ok else None,
        status=image.status,
        error_message=image.error_message,
    )


def _remove_leftovers(directory: PackDir) -> None:
    """Remove what a killed run was writing aside, as far as the file system lets us."""
    for path in directory.leftovers():
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _remove_blocks(directory: PackDir) -> None:
    """Remove what a whole pack no longer needs: all of it is in pack.parquet and errors.parquet."""
    _remove_leftovers(directory)
    for path in reversed(list(directory.blocks())):  # From the end, so that what a kill leaves is a series.
        path.unlink(missing_ok=True)
    directory.listing.unlink(missing_ok=True)
    with suppress(OSError):
        directory.blocks_dir.rmdir()


class _Teller:
    """Prints how far the pack is, about twice a second."""

    def __init__(self) -> None:
        self._said = float("-inf")

    def __call__(self, count: Count) -> None:
        now = time.monotonic()
        if now - self._said >= SAY_SECONDS:
            self._said = now
            say(**asdict(count))


def _stop_when_alone(stop: threading.Event) -> None:
    """Set `stop` when standard input ends: the process that started this one asks for the end that way, or is gone."""
    while os.read(0, 1024):
        pass
    stop.set()


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack the directory in the argument; each line of stdout is an object with the counts, the result, or an error."""
    parser = argparse.ArgumentParser(prog="python -m workers.pack.writer")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--in-hand", type=int, metavar="FD")
    parser.add_argument("--suspect", type=int, metavar="ID", action="append", default=[])
    options = parser.parse_args(arguments)
    stop = threading.Event()
    threading.Thread(target=_stop_when_alone, args=(stop,), daemon=True).start()
    directory = PackDir.at(options.directory)

    def run() -> None:
        try:
            say(result=asdict(pack(directory, options.threads, stop, _Teller(), options.in_hand, options.suspect)))
        except BrokenPipeError:
            raise
        except OSError as error:
            todo = "make room" if error.errno in _FULL else "see to its disk or mount"
            raise PackError(
                f"{directory.path} does not take the pack ({error.strerror or error}): {todo}, and run the same "
                "command; it goes on after the last whole tar."
            ) from error

    try:
        return exit_status(run)
    except Stopped:
        return 0


if __name__ == "__main__":
    sys.exit(main())
