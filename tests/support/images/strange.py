"""Image files that no camera writes: those the installed libraries can't write, and bombs, byte by byte."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 40_000
"""The width and height that a bomb claims, in pixels: 1.6 billion of them."""


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """`image` as the bytes of a file, written by Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int,
    height: int,
    scanlines: bytes,
    *,
    bits: int = 8,
    colour: int = 2,
    before: bytes = b"",
    compressed: bool = False,
) -> bytes:
    """A PNG of raw scanlines (each with its filter byte), `before` being further chunks between header and data."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    data = png_chunk(b"IDAT", scanlines if compressed else zlib.compress(scanlines))
    return b"\x89PNG\r\n\x1a\n" + header + before + data + png_chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def apng_frame(width: int, height: int) -> bytes:
    """The chunks that make a PNG an animation of a million frames, the first of which is `width` x `height`."""
    control = struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 1, 0, 0)
    return png_chunk(b"acTL", struct.pack(">II", 1_000_000, 0)) + png_chunk(b"fcTL", control)


def png_16_bit(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of 16 bits a sample from uint8 [h, w, 3 or 4]; the low byte is noise that must not show."""
    height, width, channels = pixels.shape
    samples = (pixels.astype(np.uint16) * 256 + 77).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in samples)
    return png(width, height, lines, bits=16, colour={3: 2, 4: 6}[channels])


def deflated_zeros(count: int) -> bytes:
    """`count` zero bytes as a zlib stream of a thousandth of that, made in bounded memory."""
    squeeze = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [squeeze.compress(block) for _ in range(count >> 20)]
    return b"".join([*parts, squeeze.flush()])


def tiff(entries: dict[int, tuple[int, int]], data: bytes) -> bytes:
    """A little-endian TIFF of one directory: tag -> (type 3 for short or 4 for long, value); `data` is at byte 8."""
    start = 8 + len(data) + len(data) % 2
    fields = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(entries.items()))
    return (
        b"II*\0" + struct.pack("<I", start) + data.ljust(start - 8, b"\0") + struct.pack("<H", len(entries)) + fields
    ) + bytes(4)


def grey_tiff(width: int, height: int, strip: bytes, rows: int, **more: int) -> bytes:
    """An uncompressed 8-bit grey TIFF of one strip, whose tags may say another size than the strip has."""
    longs = {256: width, 257: height, 273: 8, 278: rows, 279: len(strip)}
    shorts = {258: 8, 259: 1, 262: 1, 277: 1}
    return tiff({t: (4, v) for t, v in longs.items()} | {t: (3, v) for t, v in shorts.items()}, strip)


def tiled_tiff(grey: NDArray[np.uint8], side: int) -> bytes:
    """An uncompressed 8-bit grey TIFF in two or more tiles of `side` x `side`."""
    height, width = grey.shape
    grey = np.pad(grey, ((0, -height % side), (0, -width % side)))  # The last tiles stand out over the image.
    tiles = [grey[y : y + side, x : x + side].tobytes() for y in range(0, height, side) for x in range(0, width, side)]
    data = b"".join(tiles)
    places = b"".join(struct.pack("<I", 8 + number * side * side) for number in range(len(tiles)))
    sizes = struct.pack("<I", side * side) * len(tiles)
    start = 8 + len(data) + len(places) + len(sizes)
    shorts = {258: 8, 259: 1, 262: 1, 277: 1}
    longs = {256: width, 257: height, 322: side, 323: side}
    fields = {tag: (3, 1, value) for tag, value in shorts.items()} | {tag: (4, 1, v) for tag, v in longs.items()}
    fields |= {324: (4, len(tiles), 8 + len(data)), 325: (4, len(tiles), 8 + len(data) + len(places))}
    directory = b"".join(struct.pack("<HHII", tag, *values) for tag, values in sorted(fields.items()))
    head = b"II*\0" + struct.pack("<I", start)
    return head + data + places + sizes + struct.pack("<H", len(fields)) + directory + bytes(4)


def gif(screen: tuple[int, int], frame: tuple[int, int], frames: int = 1) -> bytes:
    """A GIF of two colours whose frames may be larger than its screen, and hold no pixels."""
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + (b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\x00") * frames + b";"


def webp_canvas(webp: bytes, side: int, *, animated: bool) -> bytes:
    """A simple WebP as the only picture of an extended one, whose canvas is `side` x `side`."""
    picture = webp[12:]
    if animated:
        frame = bytes(6) + (63).to_bytes(3, "little") + (47).to_bytes(3, "little") + bytes(4) + picture
        picture = b"ANIM" + struct.pack("<I", 6) + bytes(6) + b"ANMF" + struct.pack("<I", len(frame)) + frame
    canvas = bytes([2 if animated else 0, 0, 0, 0]) + (side - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + picture
    return b"RIFF" + struct.pack("<I", len(body)) + body


def ycck(image: Image.Image) -> bytes:
    """`image` as a JPEG in the four components that Photoshop writes, which Pillow reads and never writes."""
    inks = np.asarray(image.convert("CMYK"))
    turned = np.asarray(Image.fromarray(np.ascontiguousarray(inks[..., :3])).convert("YCbCr"))
    # Pillow turns each sample of a CMYK image upside down as it writes it, as Adobe's files have it.
    samples = np.ascontiguousarray(np.dstack([255 - turned, inks[..., 3]]))
    written = encoded(Image.frombuffer("CMYK", image.size, samples.tobytes()), "JPEG", subsampling=0, quality=95)
    return patched(written, b"Adobe", 11, "B", 2)  # The segment of Adobe says what the components are.


def jpeg_of_another_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header claims another size than its scan has."""
    at = _frame_header(data)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def jpeg_with_a_second_frame_header(data: bytes, width: int, height: int, *, after: bool) -> bytes:
    """A JPEG with two frame headers, the other one of `width` x `height` after or before its own."""
    at = _frame_header(data)
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    other = data[at : at + 5] + struct.pack(">HH", height, width) + data[at + 9 : end]
    return data[:end] + other + data[end:] if after else data[:at] + other + data[at:]


def _frame_header(data: bytes) -> int:
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at


def patched(data: bytes, marker: bytes, offset: int, layout: str, *values: int) -> bytes:
    """`data` with `values` written `offset` bytes behind the first `marker`."""
    at = data.index(marker) + offset
    return data[:at] + struct.pack(layout, *values) + data[at + struct.calcsize(layout) :]
