"""Recognise the RAW files of cameras, and check whether what they claim is in the file."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from shared.errors import ImageError
from workers.images.structure.boxes import boxes
from workers.images.structure.claims import cut_short, require_pixels
from workers.images.structure.raster import TIFFS, tiff_tags

_FUJI: Final = b"FUJIFILMCCD-RAW"
_CANON_3: Final = b"ftypcrx "
# Olympus, Panasonic and Leica have tables as a TIFF has, behind other first letters.
_LIKE_TIFF: Final = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
_OTHERS: Final = (b"\0MRM", b"II\x1a\0\0\0HEAPCCDR", b"FOVb")  # Minolta, old Canon, Sigma.
_CANON_2: Final = b"CR"  # At byte 8 of a TIFF.
_DNG_VERSION, _BELOW, _PHOTOMETRIC, _COMPRESSION = 50706, 330, 262, 259
_WIDTH, _HEIGHT = 256, 257
_SENSOR: Final = (32803, 34892)  # Samples behind coloured filters, or samples of all colours that are not developed.
_RAW_COMPRESSIONS: Final = (32767, 32770, 34713, 65535)  # Sony's, Samsung's, Nikon's and Pentax's.
_PLACES, _COUNTS = (273, 324), (279, 325)
_MOST_TABLES: Final = 16
# The places of the parts of a Fuji's file: its preview, the facts about its samples, and the samples.
_FUJI_PARTS: Final = (84, 92, 100)


def is_raw(data: bytes) -> bool:
    """Whether the file is a camera's RAW: many begin as a TIFF does, whose first picture is a thumbnail."""
    if data.startswith(TIFFS):
        return data[8:10] == _CANON_2 or any(map(_is_of_a_sensor, _tables(data)))
    return data.startswith((_FUJI, *_LIKE_TIFF, *_OTHERS)) or data[4:12] == _CANON_3


def require_raw(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for a RAW whose samples end behind the file, or are more than `max_pixels`, by its tables."""
    if data.startswith((*TIFFS, *_LIKE_TIFF)):
        tiff_tags(data)
        for tags in _tables(data):
            width, height = (next(iter(tags.get(tag, ())), 0) for tag in (_WIDTH, _HEIGHT))
            require_pixels(width, height, max_pixels)
            if _is_of_a_sensor(tags):
                _require_samples(data, tags)
    elif data.startswith(_FUJI):
        for at in _FUJI_PARTS:
            place, length = (int.from_bytes(data[at + n : at + n + 4], "big") for n in (0, 4))
            if len(data) < at + 8 or place + length > len(data):
                raise cut_short(data, f"{length:,} bytes of it are to lie at byte {place:,}")
    elif data[4:12] == _CANON_3:
        for _ in boxes(data, 0, len(data)):
            pass


def _is_of_a_sensor(tags: dict[int, list[int]]) -> bool:
    photometric, compression = (next(iter(tags.get(tag, ())), 0) for tag in (_PHOTOMETRIC, _COMPRESSION))
    return _DNG_VERSION in tags or photometric in _SENSOR or compression in _RAW_COMPRESSIONS


def _tables(data: bytes) -> Iterator[dict[int, list[int]]]:
    """The first table of tags and those below it, as far as they can be read."""
    with suppress(ImageError):
        first = tiff_tags(data)
        yield first
        for place in first.get(_BELOW, [])[:_MOST_TABLES]:
            with suppress(ImageError):
                yield tiff_tags(data, place)


def _require_samples(data: bytes, tags: dict[int, list[int]]) -> None:
    places = next((tags[tag] for tag in _PLACES if tag in tags), [])
    counts = next((tags[tag] for tag in _COUNTS if tag in tags), [])
    for place, count in zip(places, counts, strict=False):
        if place + count > len(data):
            raise cut_short(data, f"{count:,} bytes of its samples are to lie at byte {place:,}")
