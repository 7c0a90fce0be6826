"""Make a folder, a .tar and a .zip of the same images, to be embedded through the source that a person would name."""

import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from coordinator.sources.resolve import open_source
from shared.errors import SourceError
from shared.images.paths import to_os_path


def pack(paths: Sequence[str], folder: Path) -> dict[str, Path]:
    """A folder, a tar and a zip of the files at `paths`, texts of a job's list; nothing is compressed."""
    photos = folder / "photos"
    photos.mkdir()
    for number, path in enumerate(paths):
        original = Path(to_os_path(path))
        shutil.copyfile(original, photos / f"{number:06d}{original.suffix.lower()}")
    made = {"folder": photos, "tar": folder / "photos.tar", "zip": folder / "photos.zip"}
    files = sorted(photos.iterdir())
    with tarfile.open(made["tar"], "w") as tar:
        for file in files:
            tar.add(file, file.name)
    with zipfile.ZipFile(made["zip"], "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.write(file, file.name)
    return made


def is_taken(source: Path) -> bool:
    """Whether this version of lookalike takes such a source."""
    try:
        open_source(str(source))
    except SourceError:
        return False
    return True
