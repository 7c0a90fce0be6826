"""Create a pack from a source, with the list of what is to be packed, or open the one that exists."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from coordinator.pack.member_names import MemberNames
from coordinator.sources.begun import Begun, chosen, is_other, patterns_text
from coordinator.sources.choosing import EVERYTHING, Choice
from coordinator.sources.listing import Listing, PathDigest, digested, no_images, partitions_of
from coordinator.sources.resolve import open_source
from shared.errors import PackError, SourceError, UsageError
from shared.errors.remedy import Remedy
from shared.images.paths import to_os_path, to_text
from shared.job.manifest import Source
from shared.pack.directory import PackDir, PackSpec, load_spec, write_spec
from shared.pack.listing import LISTING_SCHEMA
from shared.settings import Settings
from shared.storage import files, parquet

IMAGES_PER_TAR = 10_000
TAR_BYTES = 1_000_000_000
QUALITY = 90
_ROWS = 50_000  # How many rows of the listing are held at once.
_REPORT_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a pack that were typed; None, and False for `webdataset`, stand for those that were not."""

    longest: int | None = None
    quality: int | None = None
    images_per_tar: int | None = None
    tar_bytes: int | None = None
    webdataset: bool = False


def make_or_open(
    source: str,
    directory: PackDir,
    asked: Asked,
    settings: Settings,
    listed: Callable[[int], None],
    choice: Choice = EVERYTHING,
) -> PackSpec:
    """The spec of the pack in `directory`: the existing one, or a new one once `source` is listed.

    `listed` is called with the number of paths meanwhile. `choice` holds the options about the files of the source; an
    existing pack continues with its own, unless another choice was typed. Raises PackError when the directory holds a
    pack of another source, with other parameters or with another choice, naming both, or something else; SourceError
    when there is nothing to list.
    """
    if directory.spec.is_file():
        spec = load_spec(directory)
        _require_same(spec, source, directory, asked, choice)
        return spec
    if (strange := directory.strange()) is not None:
        raise PackError(
            f"{directory.path} holds no pack.json, but {strange}: name a directory that is empty, or a new one."
        )
    if asked.quality is not None and asked.longest is None:
        longest = Remedy("option", does="give {} as well, or leave it out", given={"longest": ""})
        raise UsageError("The quality is that of resized images", remedy=longest)
    return _make(open_source(source, choice=choice, texts=False), directory, asked, settings, listed, choice)


def _make(
    listing: Listing,
    directory: PackDir,
    asked: Asked,
    settings: Settings,
    listed: Callable[[int], None],
    choice: Choice,
) -> PackSpec:
    digest, root = PathDigest(), _Root(listing)
    known: set[str] = set()
    names = MemberNames(_base(listing), by_stem=asked.longest is not None, webdataset=asked.webdataset)
    with files.written_aside(directory.listing) as aside, parquet.writer(aside, LISTING_SCHEMA) as into:
        for part, found in partitions_of(digested(listing, digest), _ROWS):
            named = []
            for image, entry in enumerate(found, part.start):
                named.append(names.name(image, entry.path))
                root.add(entry.path)
                known.update(entry.known)
                if image % _REPORT_EVERY == 0:
                    listed(image)
            stems, suffixes = zip(*named, strict=True)
            members = [None if entry.member is None else asdict(entry.member) for entry in found]
            columns = [range(part.start, part.stop), [entry.path for entry in found], stems, suffixes, members]
            table = dict(zip(LISTING_SCHEMA.names, columns, strict=True))
            into.write_table(pa.table(table, schema=LISTING_SCHEMA))
    if not digest.count:
        directory.listing.unlink()
        raise SourceError(no_images(listing.location, listing.left_out))
    # The source metadata of lists and archives is left out: a pack holds only images.
    listing.left_out.update(f"column {name:.60}, which is not packed" for name in known)
    left_out_counts = dict(sorted(listing.left_out.items()))
    spec = PackSpec(
        source=Source(
            listing.kind,
            listing.location,
            digest.hexdigest(),
            left_out_counts,
            exclude=list(choice.exclude),
            include=list(choice.include),
            sniff=choice.sniff,
        ),
        root=root.text,
        listed=digest.count,
        images_per_tar=asked.images_per_tar or IMAGES_PER_TAR,
        tar_bytes=asked.tar_bytes or TAR_BYTES,
        longest=asked.longest,
        quality=None if asked.longest is None else asked.quality or QUALITY,
        webdataset=asked.webdataset,
        max_image_pixels=settings.max_image_pixels,
        max_image_bytes=settings.max_image_bytes,
        made_by=f"lookalike {version('lookalike')}",
    )
    write_spec(directory, spec)
    return spec


def _base(listing: Listing) -> bytes:
    """The folder below which an image keeps its path as its name."""
    if listing.kind == "stdin":
        return os.fsencode(os.getcwd())
    location = os.fsencode(to_os_path(listing.location))
    return location if listing.kind == "folder" else os.path.dirname(location)


class _Root:
    """The folder that all images of a listing are in; none if they are not in folders."""

    def __init__(self, listing: Listing) -> None:
        location = to_os_path(listing.location)
        self._found = location if listing.kind == "folder" and location.startswith("/") else None
        self._sought = listing.kind in ("list", "stdin")

    def add(self, path: str) -> None:
        if not self._sought:
            return
        os_path = to_os_path(path)
        if not os_path.startswith("/"):
            self._sought, self._found = False, None
        elif self._found is None:
            self._found = os.path.dirname(os_path)
        elif not os_path.startswith(self._found.rstrip("/") + "/"):
            self._found = os.path.commonpath([self._found, os_path])

    @property
    def text(self) -> str | None:
        return None if self._found is None else to_text(self._found)


def _require_same(spec: PackSpec, source: str, directory: PackDir, asked: Asked, choice: Choice) -> None:
    begun = Begun(
        path=str(directory.path),
        made="is a pack",
        of="of",
        another="name another directory",
        error=PackError,
        source=spec.source,
        listed=spec.listed,
    )
    begun.require_source(open_source(source))
    for option, wanted, is_made in (
        *chosen(choice, spec.source),
        ("longest", asked.longest, spec.longest),
        ("quality", asked.quality, spec.quality),
        ("images_per_tar", asked.images_per_tar, spec.images_per_tar),
        ("tar_bytes", asked.tar_bytes, spec.tar_bytes),
        ("webdataset", asked.webdataset or None, spec.webdataset),
    ):
        if is_other(wanted, is_made):
            raise begun.stays(
                option,
                f"{directory.path} was begun {_told(option, is_made)}, not {_told(option, wanted)}, and stays as it "
                "was begun, so that what is packed keeps its place",
            )


def _told(option: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"with {option}" if value else f"without {option}"
    if isinstance(value, tuple):
        return f"with {patterns_text(option, value)}" if value else f"without {option}"
    return f"without {option}" if value is None else f"with {option} {value}"
