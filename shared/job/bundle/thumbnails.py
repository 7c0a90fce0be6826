"""Read the thumbnails of a bundle: the JPEGs of a partition in one file, and where each of them begins in another."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.errors import CorruptFile, ImageError
from shared.job.directory import JobDir
from shared.storage.parquet import read_table
from shared.storage.stores import StorePath

Offsets = npt.NDArray[np.int64]


def read_thumbnail(bundle: JobDir, partition: int, image_id: int) -> bytes:
    """The JPEG of an image of a bundle.

    Raises ImageError when the bundle has none of it, CorruptFile when its files do not fit each other.
    """
    if not bundle.thumbnail_offsets(partition).is_file():
        raise ImageError(f"The bundle {bundle.path} has no thumbnails.", "vanished")
    ids = read_table(bundle.metadata(partition), ["id"])["id"].to_numpy()
    row = int(np.searchsorted(ids, image_id))
    if row == len(ids) or ids[row] != image_id:
        raise ImageError(f"The bundle {bundle.path} has no thumbnail of the image {image_id:,}.", "vanished")
    path = bundle.thumbnails(partition)
    start, stop = _place(bundle.thumbnail_offsets(partition), row, len(ids), path)
    if start == stop:
        raise ImageError(
            f"The image {image_id:,} could not be read when the bundle {bundle.path} was made, so it has no thumbnail.",
            "vanished",
        )
    if isinstance(path, StorePath):
        return path.range(start, stop)
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(stop - start)


def _place(offsets: Path, row: int, rows: int, path: Path) -> tuple[int, int]:
    """Where the thumbnail of a row begins and ends."""
    try:
        found: Offsets = np.lib.format.read_array(io.BytesIO(offsets.read_bytes()), allow_pickle=False)
        if found.dtype != np.int64 or found.shape != (rows + 1,) or found[0] != 0 or np.any(np.diff(found) < 0):
            raise ValueError("it does not hold a place for each image")
        if int(found[-1]) != path.stat().st_size:
            raise ValueError(f"{path.name} has another size")
    except (ValueError, FileNotFoundError) as error:
        raise CorruptFile(f"{offsets} can't be read ({error}): copy the bundle anew.") from None
    return int(found[row]), int(found[row + 1])
