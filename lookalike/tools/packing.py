"""Pack many small image files into a few tars, as `lookalike pack` does."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike import extras
from lookalike.program import Event
from lookalike.tools.given import require_lists
from shared.errors import UsageError
from shared.text import size, size_of


@dataclass(frozen=True, slots=True)
class Pack:
    """A directory of tars; `lookalike.index` takes it, or its `path`, as a source.

    Attributes
    ----------
    path
        The directory.
    listed, packed, failed
        Images: those of the source, in tars, and those that could not be read, each with its reason in the file
        errors.parquet of the directory.
    tars
        The bytes of each tar, by its name.
    """

    path: str
    listed: int
    packed: int
    failed: int
    tars: dict[str, int]

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        failed = f", {self.failed:,} failed (each with its reason in errors.parquet)" if self.failed else ""
        tars = f"{len(self.tars):,} {'tar' if len(self.tars) == 1 else 'tars'}, {size(sum(self.tars.values()))}"
        return f"{self.packed:,} of {self.listed:,} images packed{failed}; {tars}, in {self.path}"


def pack(
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    progress: Callable[[Event], object] | None = None,
    longest: int | None = None,
    quality: int | None = None,
    images_per_tar: int | None = None,
    tar_bytes: int | str | None = None,
    webdataset: bool = False,
    threads: int = 16,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    sniff: bool = False,
) -> Pack:
    """Pack the images of a source into tars in a directory; the same call continues after the last whole tar.

    Worth it for many small files on a slow mount, such as Drive: they are read once, and never listed again. Files that
    come to the source afterwards are not in the pack.

    Parameters
    ----------
    source
        A folder of images, or a list of paths.
    progress
        A function that is called in this thread with each `Event`.
    longest
        Pixels: longer images become JPEGs of this, of `quality`; None to keep the bytes of all.
    tar_bytes
        What a tar may take: bytes, or a text such as "500MB".
    quality, images_per_tar, webdataset, threads, exclude, include, sniff
        As the options of `lookalike pack` (docs/cli.md).

    Raises
    ------
    LookalikeError
        PackError when the directory holds another pack or something else, SourceError when the images can't be listed,
        UsageError for a size that can't be.
    """
    for name, given, most in (("longest", longest, 65_500), ("quality", quality, 100), ("threads", threads, 512)):
        least = 16 if name == "longest" else 1
        if given is not None and not least <= given <= most:
            raise UsageError(f"{name} is {given}; it has to be {least} to {most:,}.")
    require_lists("patterns", exclude=exclude, include=include)
    if images_per_tar is not None and images_per_tar < 1:
        raise UsageError(f"images_per_tar is {images_per_tar}; at least one has to be in a tar.")
    with extras.needed("To pack images"):
        from coordinator.display.pack import PackPace
        from coordinator.pack.create import Asked, make_or_open
        from coordinator.pack.process import packer, packing_lock
        from coordinator.sources.choosing import Choice
        from shared.pack import tables
        from shared.pack.directory import LEAST_TAR_BYTES, PackDir
        from shared.settings import load_settings
    bytes_each = size_of(tar_bytes) if isinstance(tar_bytes, str) else tar_bytes
    if bytes_each is not None and bytes_each < LEAST_TAR_BYTES:
        raise UsageError(f"tar_bytes is {tar_bytes}, less than any tar takes: give at least {LEAST_TAR_BYTES:,}.")

    def tell(event: Event) -> None:
        if progress is not None:
            progress(event)

    place = PackDir.at(Path(directory))
    asked = Asked(longest, quality, images_per_tar, bytes_each, webdataset)
    choice = Choice(tuple(exclude), tuple(include), sniff)
    result: dict[str, Any] = {"packed": 0, "failed": 0, "tars": {}}
    with packing_lock(place) as lock:
        resumed = place.spec.is_file()
        spec = make_or_open(
            os.fspath(source),
            place,
            asked,
            load_settings(),
            lambda count: tell(Event(f"Listing images … {count:,} so far", passing=True)),
            choice,
        )
        before = tables.done(place, spec) if resumed else 0
        known = f"{before:,} of {spec.listed:,} images were packed before." if before else f"{spec.listed:,} images"
        tell(Event(known))
        pace = PackPace(spec.listed)
        with packer(place, threads, lock) as said:
            for told in said:
                if "result" in told:
                    result = told["result"]
                else:
                    now = pace.told(**told)
                    rate, left = now.images_per_second, now.eta_seconds
                    tell(Event(now.line, now.done, now.listed, rate, left, passing=True))
        place.lock.unlink(missing_ok=True)
    made = Pack(str(place.path), spec.listed, result["packed"], result["failed"], result["tars"])
    tell(Event(str(made), made.packed + made.failed, made.listed))
    return made
