"""Find which files of a folder hold vectors, in which order, and which metadata belongs to which."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shared.errors import SourceError

LAYOUT: Final = (
    "a folder with img_emb/*.npy (and metadata/*.parquet), a folder of .npy or .parquet files, or a .npy, .fvecs or "
    ".parquet file"
)


def files_of(root: Path) -> tuple[list[Path], list[Path]]:
    """The files of vectors at `root` in order, and those of metadata in the same order, or none.

    Numbers in names are compared as numbers. Raises SourceError when there are no vectors, or when it is not clear
    which metadata belongs to a file.
    """
    if root.is_file():
        if root.suffix.lower() not in (".npy", ".fvecs", ".parquet"):
            raise SourceError(f"{root} can't hold vectors: expected {LAYOUT}.")
        return [root], []
    if not root.is_dir():
        raise SourceError(f"There is nothing at {root}: expected {LAYOUT}.")
    found = _named(root, ".npy")
    if not found and (root / "img_emb").is_dir():
        found = _named(root / "img_emb", ".npy")
        if found and (root / "metadata").is_dir():
            return found, _numbered(_named(root / "metadata", ".parquet"), found, root)
    found = found or _named(root, ".parquet")
    if not found:
        raise SourceError(f"{root} holds no vectors: expected {LAYOUT}.")
    return found, []


def _named(folder: Path, suffix: str) -> list[Path]:
    """The files of `folder` that end in `suffix`, numbers within their names compared as such; hidden ones are not."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except OSError as error:
        raise SourceError(f"The folder {folder} can't be listed ({error.strerror}).") from None
    some = [name for name in names if name.lower().endswith(suffix) and not name.startswith(".")]
    return [folder / name for name in sorted(some, key=_natural)]


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    pieces = re.split(r"([0-9]+)", name)
    return [(int(piece), "") if piece[:1].isdecimal() and piece.isascii() else (-1, piece) for piece in pieces], name


def _number(path: Path) -> int:
    """The last number in the name of a file; -1 if there is none."""
    found = re.findall(r"[0-9]+", path.stem)
    return int(found[-1]) if found else -1


def _numbered(listings: Sequence[Path], vectors: Sequence[Path], root: Path) -> list[Path]:
    """For each file of vectors, the file of metadata with the same number."""
    by_number = {_number(path): path for path in listings}
    numbers = [_number(path) for path in vectors]
    absent = [path for path, number in zip(vectors, numbers, strict=True) if number not in by_number]
    if absent:
        raise SourceError(
            f"{absent[0]} has no metadata of its number in {root / 'metadata'}: restore metadata_{_number(absent[0])}"
            f".parquet, or name {absent[0].parent} itself to import vectors without their paths."
        )
    if len(by_number) < len(listings) or len(set(numbers)) < len(numbers):
        raise SourceError(f"Two files in {root} have the same number in their names: which metadata is whose is open.")
    return [by_number[number] for number in numbers]
