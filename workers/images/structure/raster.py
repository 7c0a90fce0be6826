"""Check BMP, PPM and TIFF files: compare what they claim with the file."""

import re
import struct
from typing import Literal

from shared.errors import ImageError
from workers.images.structure.claims import DEFLATE_RATIO, LZW_RATIO, cut_short, require_data, require_pixels

TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first bytes of a TIFF."""

_PPM_BEGINS = re.compile(rb"P[1-6](?:\s|#)")
_PPM_NUMBER = re.compile(rb"(?:\s|#[^\r\n]*(?:[\r\n]|$))*(\d*)")
_PPM_DIGITS = 10
_PPM_SAMPLES = {b"3": 3, b"6": 3}
_BMP_RUNS = {1: 8, 2: 4}
# TIFF: the types with their bytes for a value, and the tags that say where the pixels are.
_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WHOLE_NUMBERS = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES = 256, 257, 258, 259, 277
_PLACES, _COUNTS = (273, 324), (279, 325)
_TILE = (322, 323)
# The most bytes that one byte of each compression gives; others, such as zstd, have no such bound.
_RATIOS = {1: 1, 5: LZW_RATIO, 8: DEFLATE_RATIO, 32946: DEFLATE_RATIO, 32773: 64}
_MEANING, _FLOATS = 339, 3
_NUMBERS = {2: "signed numbers", 4: "numbers of no known meaning", 5: "complex numbers", 6: "complex numbers"}
_MOST_BITS = 16
_MOST_TAGS = 4_096
_MOST_SAMPLES = 32


def require_bmp(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for a BMP whose rows end behind the file."""
    if len(data) < 26:
        raise cut_short(data, "its header is not whole")
    start, head = struct.unpack("<II", data[10:18])
    if 14 + head > len(data):
        raise cut_short(data, f"its header has {14 + head:,} bytes")
    if head == 12:
        (width, height, _, bits), compression = struct.unpack("<HHHH", data[18:26]), 0
    elif head >= 40:
        width, height, _, bits, compression = struct.unpack("<iiHHI", data[18:34])
    else:
        return  # This is an old kind that no decoder reads; they say so.
    width, height = abs(width), abs(height)
    require_pixels(width, height, max_pixels)
    if compression in _BMP_RUNS:
        _require_runs(data, start, width, height)
    elif compression in (0, 3, 6):
        row = (width * bits + 31) // 32 * 4
        require_data(data, max(len(data) - start, 0), row * height, width, height)


def _require_runs(data: bytes, at: int, width: int, height: int) -> None:
    """Walk the runs of a BMP up to their end mark, or as many as fill it."""
    four, row = data[30] == 2, 0
    while at + 1 < len(data):
        count, value = data[at], data[at + 1]
        at += 2
        if count == 0 and value == 1:
            return
        if count == 0 and value == 0:
            row += 1
            if row >= height:
                return  # The end mark is not needed.
        elif count == 0 and value == 2:
            row += data[at + 1] if at + 1 < len(data) else 0
            at += 2
        elif count == 0:
            length = -(-value // 2) if four else value
            at += length + (length & 1)
    raise cut_short(data, f"its runs end before {width} x {height} pixels")


def is_ppm(data: bytes) -> bool:
    """Whether the file begins as a PBM, PGM or PPM."""
    return _PPM_BEGINS.match(data) is not None


def require_ppm(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for a PBM, PGM or PPM of fewer samples than it claims."""
    kind, at, numbers = data[1:2], 2, []
    for _ in range(2 if kind in b"14" else 3):
        found = _PPM_NUMBER.match(data, at)
        assert found is not None  # The pattern also matches nothing at all.
        if found.end() == len(data):
            raise cut_short(data, "its header is not whole")
        if not 0 < len(found[1]) <= _PPM_DIGITS:
            return  # It is no image: the code that reads the header says so.
        numbers.append(int(found[1]))
        at = found.end()
    width, height = numbers[:2]
    require_pixels(width, height, max_pixels)
    samples = width * height * _PPM_SAMPLES.get(kind, 1)
    if kind in b"456":
        least = -(-width // 8) * height if kind == b"4" else samples * (1 if numbers[2] < 256 else 2)
        require_data(data, len(data) - at - 1, least, width, height)
    elif kind in b"23":
        require_data(data, len(data) - at, samples * 2, width, height)
        if (written := len(data[at:].split())) < samples and b"#" not in data[at:]:
            raise cut_short(data, f"{width} x {height} pixels have {samples:,} samples, and it has {written:,}")
    else:
        require_data(data, len(data) - at, samples, width, height)


def require_tiff(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for a TIFF whose first directory, or whose pixels by it, end behind the file."""
    _require_tiff_pixels(data, tiff_tags(data), max_pixels)


def tiff_tags(data: bytes, begins: int | None = None) -> dict[int, list[int]]:
    """The whole numbers in the first directory of a TIFF, or in the one that `begins` there, by their tags.

    Raises ImageError if it ends behind the file.
    """
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    big = int.from_bytes(data[2:4], order) == 43
    word, entry, counted = (8, 20, 8) if big else (4, 12, 2)
    first = 8 if big else 4
    if len(data) < first + word:
        raise cut_short(data, "its header is not whole")
    start = int.from_bytes(data[first : first + word], order) if begins is None else begins
    if start + counted > len(data):
        raise cut_short(data, f"its directory begins at byte {start:,}")
    tags = int.from_bytes(data[start : start + counted], order)
    if start + counted + entry * tags + word > len(data):
        raise cut_short(data, f"its directory of {tags:,} tags ends behind it")
    if tags > _MOST_TAGS:
        raise ImageError(f"The TIFF has {tags:,} tags in a directory; at most {_MOST_TAGS:,} are read.")
    values = {}
    for number in range(tags):
        at = start + counted + entry * number
        tag, kind = (int.from_bytes(data[at + n : at + n + 2], order) for n in (0, 2))
        count = int.from_bytes(data[at + 4 : at + 4 + word], order)
        length, place = count * _TYPES.get(kind, 0), at + 4 + word
        if length > word:
            place = int.from_bytes(data[place : place + word], order)
        if place + length > len(data):
            raise cut_short(data, f"its tag {tag} has {length:,} bytes at byte {place:,}")
        if kind in _WHOLE_NUMBERS:
            values[tag] = (data[place : place + length], _WHOLE_NUMBERS[kind])
    return {tag: _numbers(*value, order) for tag, value in values.items()}


def unusual_numbers(data: bytes) -> str:
    """The kind of a TIFF's samples if they have no defined black and white; "" for all others."""
    tags = tiff_tags(data)
    meaning, bits = max(tags.get(_MEANING, [1])), max(tags.get(_BITS, [1]))
    if meaning in _NUMBERS:
        return _NUMBERS[meaning]
    return f"whole numbers of {bits} bits" if bits > _MOST_BITS and meaning != _FLOATS else ""


def _numbers(data: bytes, size: int, order: Literal["little", "big"]) -> list[int]:
    letter = {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
    return list(struct.unpack(f"{'<' if order == 'little' else '>'}{len(data) // size}{letter}", data))


def _require_tiff_pixels(data: bytes, tags: dict[int, list[int]], max_pixels: int) -> None:
    def one(tag: int, default: int = 0) -> int:
        return next(iter(tags.get(tag, ())), default)

    width, height, samples = one(_WIDTH), one(_HEIGHT), one(_SAMPLES, 1)
    require_pixels(width, height, max_pixels)
    if samples > _MOST_SAMPLES:
        raise ImageError(f"The TIFF has {samples:,} samples a pixel; at most {_MOST_SAMPLES} are read.")
    across, down = (one(tag) for tag in _TILE)
    if across * down > max(max_pixels, 1 << 20):
        raise ImageError(f"The TIFF has tiles of {across:,} x {down:,} pixels, for {width} x {height}: it is damaged.")
    places = next((tags[tag] for tag in _PLACES if tag in tags), [])
    counts = next((tags[tag] for tag in _COUNTS if tag in tags), [])
    for place, count in zip(places, counts, strict=False):
        if place + count > len(data):
            raise cut_short(data, f"{count:,} bytes of its pixels are to lie at byte {place:,}")
    ratio = _RATIOS.get(one(_COMPRESSION, 1))
    # If a count is missing or zero, readers take what there is.
    if ratio and counts and all(counts):
        least = width * height * samples * one(_BITS, 1) // 8 // ratio
        # For a plain picture in one piece, readers believe the size rather than the count.
        plain = ratio == 1 and len(counts) == 1 and len(places) == 1
        found = len(data) - places[0] if plain else min(sum(counts), len(data))
        require_data(data, found, least, width, height)
