"""Name every file in the directory of a pack, and read and write pack.json, which says what is packed there and how."""

import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shared.errors import PackError
from shared.job.manifest import Source
from shared.storage import files

FORMAT = 1
LEAST_TAR_BYTES = tarfile.RECORDSIZE
"""The size of the smallest tar, and so the least that can be asked for."""

# What shared/storage/files.py calls a file of a pack that is being written aside.
_ASIDE = re.compile(
    r"\.((photos-)?\d{5,9}\.tar|(block_\d{5,9}|listing|pack|errors)\.parquet|pack\.json)\.[0-9a-f]{32}\.tmp$", re.ASCII
)


@dataclass(frozen=True, slots=True)
class PackDir:
    """The directory of one pack, as paths. It creates and reads nothing by itself."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> "PackDir":
        """The pack whose directory was typed."""
        return cls(Path(os.path.expanduser(path)).resolve())

    @property
    def spec(self) -> Path:
        return self.path / "pack.json"

    @property
    def lock(self) -> Path:
        """The lock of the process that packs here."""
        return self.path / ".packing.lock"

    @property
    def listing(self) -> Path:
        """The listed paths and the names they get; it exists until all are packed."""
        return self.path / "listing.parquet"

    def tar(self, name: str) -> Path:
        return self.path / name

    @property
    def blocks_dir(self) -> Path:
        return self.path / "blocks"

    def block(self, number: int) -> Path:
        """What became of the images of one tar; it exists until all are packed."""
        return self.blocks_dir / f"block_{number:05d}.parquet"

    def blocks(self) -> Iterator[Path]:
        """The blocks that are there, in order. They are asked for by name: the listing of a mount may lag."""
        number = 0
        while (path := self.block(number)).is_file():
            yield path
            number += 1

    @property
    def table(self) -> Path:
        """Where each packed image is; with it the pack is whole."""
        return self.path / "pack.parquet"

    @property
    def errors(self) -> Path:
        return self.path / "errors.parquet"

    def leftovers(self) -> list[Path]:
        """The files that killed runs were writing aside."""
        return [
            path for folder in (self.path, self.blocks_dir) for path in folder.glob(".*") if _ASIDE.match(path.name)
        ]

    def strange(self) -> str | None:
        """The name of something in the directory that no pack put there before its pack.json; None when there is none.

        Hidden files do not count.
        """
        try:
            names = sorted(os.listdir(self.path))
        except FileNotFoundError:
            return None
        return next((name for name in names if not name.startswith(".") and name != self.listing.name), None)


@dataclass(frozen=True, slots=True)
class PackSpec:
    """What a pack is: its source, and everything that changes the bytes of its tars.

    `root` is the folder that all listed images are in, as the text of a path, or None if there is none. `longest` is
    the most pixels of an image's longer side, or None if the bytes stay as they are; `quality`, 1 to 100, is for the
    JPEGs that are made then.
    """

    source: Source
    root: str | None
    listed: int
    images_per_tar: int
    tar_bytes: int
    longest: int | None
    quality: int | None
    webdataset: bool
    max_image_pixels: int
    max_image_bytes: int
    made_by: str = "lookalike"

    def tar_name(self, number: int) -> str:
        return f"{number:05d}.tar" if self.webdataset else f"photos-{number:05d}.tar"

    def to_json(self) -> dict[str, Any]:
        table = asdict(self)
        del table["source"]["content"]  # Of vectors alone.
        for optional in (
            "exclude",
            "include",
            "sniff",
            "notes",
        ):  # Packs that were begun before these existed don't have them.
            if not table["source"][optional]:
                del table["source"][optional]
        return {"format": FORMAT} | table


def write_spec(directory: PackDir, spec: PackSpec) -> None:
    """Write pack.json: with it the pack exists."""
    files.write_bytes(directory.spec, (json.dumps(spec.to_json(), indent=2) + "\n").encode())


def load_spec(directory: PackDir) -> PackSpec:
    """Read pack.json; raises PackError when it is not what `write_spec` writes, or is of another format."""
    try:
        table = json.loads(files.read_marker(directory.spec))
        if table.pop("format") != FORMAT:
            raise PackError(
                f"{directory.spec} was written by another version of lookalike ({table.get('made_by')}): use that "
                "version, or pack into another directory."
            )
        spec = PackSpec(**table | {"source": Source(**table["source"])})
        counts = (spec.listed, spec.images_per_tar, spec.tar_bytes, spec.max_image_pixels, spec.max_image_bytes)
        if any(type(count) is not int or count < 1 for count in counts):
            raise ValueError("a count is no whole number from 1")
        if (spec.longest is None) != (spec.quality is None) or (spec.longest is not None and spec.longest < 1):
            raise ValueError("longest and quality don't go together")
    except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError) as error:
        raise PackError(
            f"{directory.spec} is not whole ({error!r}): restore it from a copy, or pack into another directory."
        ) from None
    return spec
