"""Check AVIF and JPEG 2000 files, which consist of boxes: compare what they claim with the file."""

import struct
from collections.abc import Iterator

from shared.errors import ImageError
from workers.images.structure.claims import cut_short, is_zero, require_pixels

JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
CODESTREAM = b"\xff\x4f\xff\x51"
_MOST_BOXES = 10_000
# A tile has a header of 12 bytes and a mark behind it, even if it is empty; OpenJPEG sets aside 5 KB for each.
_TILE_BYTES = 14
_MOST_COMPONENTS = 32
# The coded pixels of AV1 and HEVC end with a bit of 1, and few bytes behind it.
_ZEROS = 64
_PARENTS = (b"iprp", b"ipco")
_CODED = (b"av01", b"hvc1")


def boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name, and the beginning and end of the content, of each box from `at` to `end`; ImageError for one that ends
    behind it.
    """
    for _ in range(_MOST_BOXES):
        if end - at < 8:
            return
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:
            if is_zero(data, at):
                raise cut_short(data[:at], "only zeros follow")
            size = end - at
        name = kind.decode("ascii", "backslashreplace")
        if size < head:
            raise ImageError(f"A box {name} at byte {at:,} has {size} bytes, less than its own head: it is damaged.")
        if at + size > end:
            raise cut_short(data, f"a box {name} at byte {at:,} has {size:,} bytes")
        yield kind, at + head, at + size
        at += size
    raise ImageError(f"The file has over {_MOST_BOXES:,} boxes: it is made to waste time.")


def require_avif(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for an AVIF of too many pixels, or whose boxes or pixels by them end behind the file."""
    meta = False
    for kind, start, end in boxes(data, 0, len(data)):
        if kind == b"meta":
            meta = True
            _require_meta(data, start + 4, end, max_pixels)
    if not meta:
        raise cut_short(data, "it ends before it says what it holds")


def _require_meta(data: bytes, at: int, stop: int, max_pixels: int) -> None:
    held: tuple[int, int] = (0, 0)
    located: list[tuple[int, int, int, int]] = []
    pixels: set[int] = set()
    waiting = [(at, stop)]
    while waiting:
        for kind, start, end in boxes(data, *waiting.pop()):
            if kind in _PARENTS:
                waiting.append((start, end))
            elif kind == b"ispe" and end - start >= 12:
                width, height = struct.unpack(">II", data[start + 4 : start + 12])
                require_pixels(width, height, max_pixels)
            elif kind == b"iinf":
                head = 6 if data[start : start + 1] == b"\0" else 8
                waiting.append((start + head, end))
            elif kind == b"infe" and data[start : start + 1] in (b"\2", b"\3"):
                wide = 2 * data[start] - 2
                if data[start + 6 + wide : start + 10 + wide] in _CODED:
                    pixels.add(int.from_bytes(data[start + 4 : start + 4 + wide], "big"))
            elif kind == b"idat":
                held = (start, end)
            elif kind == b"iloc":
                located = extents(data, start, end)
    for item, method, offset, length in located:
        base, end = held if method == 1 else (0, len(data))
        if method > 1:
            continue
        if base + offset + length > end:
            raise cut_short(data, f"{length:,} bytes of it are to lie at byte {offset:,}")
        last = data[max(base + offset + length - _ZEROS, 0) : base + offset + length]
        if item in pixels and len(last) == _ZEROS and not any(last):
            raise cut_short(data, "its pixels end with zeros, as what was never written does")


def extents(data: bytes, at: int, end: int) -> list[tuple[int, int, int, int]]:
    """The place of each item of a file: its number, how its offset is meant, offset and length."""
    body = data[at:end]
    if len(body) < 8:
        return []
    version, sizes, bases = body[0], body[4], body[5]
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, bases >> 4
    index_size = bases & 15 if version else 0
    wide = 4 if version == 2 else 2
    at = 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(body):
            raise ImageError("The file's table of what lies where is damaged.")
        return int.from_bytes(body[at - size : at], "big")

    found = []
    for _ in range(number(wide)):
        item = number(wide)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size)
        for _ in range(number(2)):
            number(index_size)
            offset = number(offset_size)
            found.append((item, method, base + offset, number(length_size)))
        if len(found) > _MOST_BOXES:
            raise ImageError(f"The file is in over {_MOST_BOXES:,} pieces: it is made to waste time.")
    return found


def require_jpeg_2000(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for a JPEG 2000 of too many pixels or tiles, or whose code stream ends behind the file."""
    if data.startswith(CODESTREAM):
        return _require_codestream(data, 0, len(data), max_pixels)
    for kind, start, end in boxes(data, 0, len(data)):
        if kind == b"jp2c":
            return _require_codestream(data, start, end, max_pixels)
    raise cut_short(data, "it ends before its pixels")


def _require_codestream(data: bytes, start: int, end: int, max_pixels: int) -> None:
    if start + 42 > end:
        raise cut_short(data, "the header of its pixels is not whole")
    right, bottom, left, top, across, down, tiles_left, tiles_top, components = struct.unpack(
        ">8IH", data[start + 8 : start + 42]
    )
    require_pixels(max(right - left, 0), max(bottom - top, 0), max_pixels)
    if components > _MOST_COMPONENTS or not across or not down:
        raise ImageError(f"The JPEG 2000 has {components:,} components and tiles of {across} x {down}: it is damaged.")
    tiles = max(-(-(right - tiles_left) // across), 0) * max(-(-(bottom - tiles_top) // down), 0)
    if tiles * _TILE_BYTES > end - start:
        raise cut_short(data, f"its {tiles:,} tiles need {_TILE_BYTES} bytes or more each")
    at = start + 2
    while at + 4 <= end and data[at : at + 2] != b"\xff\x90":
        if data[at] != 0xFF:
            if is_zero(data, at):
                raise cut_short(data[:at], "only zeros follow")
            return  # The decoder says what is wrong.
        at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
    parts = 0
    while at + 12 <= end and data[at : at + 2] == b"\xff\x90":
        parts += 1
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        if length == 0:  # The box goes up to the end.
            if data.rfind(b"\xff\xd9", at, end) < 0:
                raise cut_short(data, "the end mark of its pixels is missing")
            return
        if at + length > end:
            raise cut_short(data, f"a tile at byte {at:,} has {length:,} bytes")
        at += max(length, 12)
    if not parts or (at < end and is_zero(data[:end], at)):
        raise cut_short(data[:at], "a tile of it is missing")
    if end - at < 2:
        raise cut_short(data, "the end mark of its pixels is missing")
