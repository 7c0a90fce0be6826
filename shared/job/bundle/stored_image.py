"""Read an image of a bundle: the photo where it is there, and its thumbnail where it is not."""

import hashlib

import numpy as np

from shared.errors import ImageError
from shared.images.location import Location, read_bytes
from shared.job.bundle.thumbnails import read_thumbnail
from shared.job.opened import OpenJob
from shared.storage.parquet import read_table


def read_image(bundle: OpenJob, image_id: int, location: Location) -> tuple[bytes, bool]:
    """The encoded bytes of an image of a bundle that is at `location`, and whether they are those of the photo; also of
    a job, which has no thumbnails, once the image's partition is sealed.

    On another machine, another photo may be in its place: only the bytes that were embedded are taken for it. Raises
    ImageError when neither the photo nor a thumbnail is there, CorruptFile for damaged files.
    """
    partition = bundle.partition_of(image_id).number
    return read_as_embedded(bundle, image_id, location, _sha256(bundle, partition, image_id))


def read_as_embedded(bundle: OpenJob, image_id: int, location: Location, sha256: str | None) -> tuple[bytes, bool]:
    """`read_image` of an image whose bytes are known to have had this SHA-256; None where it is not known."""
    partition = bundle.partition_of(image_id).number
    try:
        data = read_bytes(location.place, bundle.manifest.max_image_bytes, location.member)
        if sha256 in (None, hashlib.sha256(data).hexdigest()):
            return data, True
        why = ImageError(f"{location.place} is another image than the one that was embedded.", "vanished")
    except ImageError as error:
        why = error
    if bundle.manifest.bundle is None:
        raise why
    try:
        return read_thumbnail(bundle, partition, image_id), False
    except ImageError as error:
        raise ImageError(f"{why} {error}", why.status) from None


def _sha256(bundle: OpenJob, partition: int, image_id: int) -> str | None:
    table = read_table(bundle.metadata(partition), ["id", "sha256"])
    row = int(np.searchsorted(table["id"].to_numpy(), image_id))
    if row == len(table) or table["id"][row].as_py() != image_id:
        return None
    found: str | None = table["sha256"][row].as_py()
    return found
