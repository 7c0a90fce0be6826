"""Take the largest picture out of an icon (ICO, ICNS), which holds a picture in several sizes."""

import struct
from typing import Final

from shared.errors import ImageError
from workers.images.structure.claims import cut_short, require_data

_ICO: Final = b"\0\0\1\0"
_ICNS: Final = b"icns"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_2000: Final = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_MOST_PICTURES: Final = 1_000
_LONGEST_SIDE: Final = 1_024  # The size of a picture that is no PNG: its own header may say anything.
# The names of an ICNS's pictures with their sides; for those without alpha also the name of their mask.
_FILES: Final = {
    b"ic10": 1_024, b"ic14": 512, b"ic09": 512, b"ic13": 256, b"ic08": 256, b"ic07": 128, b"ic12": 64, b"icp6": 64,
    b"ic11": 32, b"icp5": 32, b"icp4": 16,
}  # fmt: skip
_RUNS: Final = {b"it32": (128, b"t8mk"), b"ih32": (48, b"h8mk"), b"il32": (32, b"l8mk"), b"is32": (16, b"s8mk")}


def icon_suffix(data: bytes) -> str:
    """The suffix of an icon by its first bytes; "" if it is no icon."""
    if data.startswith(_ICNS):
        return ".icns"
    return ".ico" if data.startswith(_ICO) else ""


def picture_of(data: bytes) -> bytes:
    """The largest picture of an icon: the PNG or JPEG 2000 in it, or an icon with only that picture.

    Other files are returned unchanged. Raises ImageError, also for an icon whose largest picture is not whole.
    """
    if data.startswith(_ICO):
        return _from_ico(data)
    return _from_icns(data) if data.startswith(_ICNS) else data


def _from_ico(data: bytes) -> bytes:
    count = int.from_bytes(data[4:6], "little")
    if not 1 <= count <= _MOST_PICTURES:
        raise ImageError(f"The icon says that it holds {count:,} pictures; 1 to {_MOST_PICTURES:,} are read.")
    if len(data) < 6 + 16 * count:
        raise cut_short(data, f"it says that it holds {count} pictures")
    entries = [struct.unpack_from("<BBBxHHII", data, 6 + 16 * number) for number in range(count)]
    # A side of 256 is written as 0. Of several equally large, the one with the most bits wins.
    largest = max(entries, key=lambda entry: ((entry[0] or 256) * (entry[1] or 256), entry[4]))
    length, at = largest[5:]
    if at + length > len(data):
        raise cut_short(data, f"its largest picture has {length:,} bytes at byte {at:,}")
    picture = data[at : at + length]
    return picture if picture.startswith(_PNG) else _bare_ico(picture)


def _bare_ico(picture: bytes) -> bytes:
    """An ICO of one bitmap: rows of colours, and a mask of one bit a pixel for what is transparent."""
    if len(picture) < 40:
        raise cut_short(picture, "the header of its largest picture is not whole")
    head, width, twice, _, bits, compression = struct.unpack("<IiiHHI", picture[:20])
    colours = int.from_bytes(picture[32:36], "little") or 1 << bits if bits <= 8 else 0
    height = twice // 2
    if not (0 < width <= _LONGEST_SIDE and 0 < height <= _LONGEST_SIDE) or twice % 2 or head != 40:
        raise ImageError(f"The icon's largest picture says that it has {width} x {twice / 2:g} pixels: it is damaged.")
    if bits not in (1, 4, 8, 16, 24, 32) or compression or colours > 256:
        raise ImageError(f"The icon's largest picture has {bits} bits a pixel of an unusual kind: it is not decoded.")
    rows = (width * bits + 31) // 32 * 4 * height
    mask = (width + 31) // 32 * 4 * height
    start = head + 4 * colours
    # Old icons of 32 bits leave all alpha at 0 and have only the mask.
    masked = bits < 32 or not any(picture[start + 3 : start + rows : 4])
    short = -(-width // 8)
    if bits < 32 and len(picture) - start == rows + short * height:
        # Pillow, for one, writes a mask whose rows are no multiple of four bytes.
        lines = [picture[at : at + short] for at in range(start + rows, len(picture), short)]
        picture = picture[: start + rows] + b"".join(line.ljust(mask // height, b"\0") for line in lines)
    require_data(picture, len(picture) - start, rows + mask * masked, width, height)
    picture = picture[: start + rows + mask * masked]
    entry = struct.pack("<BBBxHHII", width % 256, height % 256, 0, 1, 24 if masked else 32, len(picture), 22)
    return _ICO + b"\1\0" + entry + picture


def _from_icns(data: bytes) -> bytes:
    length = int.from_bytes(data[4:8], "big")
    if length > len(data):
        raise cut_short(data, f"it says that it has {length:,}")
    parts: dict[bytes, bytes] = {}
    at = 8
    while at + 8 <= length:
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        if size < 8 or at + size > length:
            raise ImageError(f"A part of the icon at byte {at:,} has {size:,} bytes: it is damaged.")
        if len(parts) == _MOST_PICTURES:
            raise ImageError(f"The icon has over {_MOST_PICTURES:,} parts: it is made to waste time.")
        parts[name] = data[at + 8 : at + size]
        at += size
    files = [
        (side, parts[name]) for name, side in _FILES.items() if parts.get(name, b"").startswith((_PNG, *_JPEG_2000))
    ]
    runs = [(side, name, mask) for name, (side, mask) in _RUNS.items() if name in parts]
    if files and (not runs or files[0][0] >= runs[0][0]):
        return files[0][1]
    if not runs:
        raise ImageError("The icon holds no picture of a kind that is decoded here: convert it to PNG.")
    side, name, mask = runs[0]
    alpha = parts.get(mask)
    if alpha is not None:
        require_data(alpha, len(alpha), side * side, side, side)
    kept = [(name, parts[name]), *([(mask, alpha)] if alpha is not None else [])]
    body = b"".join(name + struct.pack(">I", 8 + len(part)) + part for name, part in kept)
    return _ICNS + struct.pack(">I", 8 + len(body)) + body
