"""Make any number of damaged image files: small seeds of each format, and mutations that are the same for the same
seed.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, features

from benchmarks.fuzz import more_formats

_OPTIONS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "JPEG": [("RGB", {}), ("L", {"progressive": True}), ("CMYK", {})],
    "PNG": [
        ("RGB", {}),
        ("RGBA", {}),
        ("P", {}),
        ("1", {}),
        ("RGB", {"save_all": True}),
        ("RGB", {"save_all": True, "default_image": True}),
        ("RGBA", {"save_all": True, "default_image": True}),
    ],
    "WEBP": [("RGB", {}), ("RGBA", {}), ("RGBA", {"lossless": True}), ("RGBA", {"save_all": True})],
    "GIF": [("P", {}), ("P", {"save_all": True}), ("L", {"interlace": 0})],
    "BMP": [("RGB", {}), ("P", {}), ("1", {}), ("RGBA", {})],
    "TIFF": [
        ("RGB", {}),
        ("RGBA", {"compression": "tiff_lzw"}),
        ("L", {"compression": "tiff_adobe_deflate"}),
        ("RGB", {"compression": "jpeg"}),
        ("1", {"compression": "group4"}),
        ("P", {"compression": "packbits"}),
    ],
    "JPEG2000": [("RGB", {}), ("RGBA", {}), ("L", {"no_jp2": True}), ("RGB", {"tile_size": (16, 16)})],
    "PPM": [("RGB", {}), ("L", {}), ("1", {})],
    "AVIF": [("RGB", {}), ("RGBA", {}), ("L", {})],
    "TGA": [("RGB", {}), ("RGBA", {"compression": "tga_rle"}), ("L", {}), ("P", {})],
    "PCX": [("RGB", {}), ("L", {}), ("P", {}), ("1", {})],
    "DDS": [("RGB", {}), ("RGBA", {}), ("RGBA", {"pixel_format": "DXT1"}), ("RGBA", {"pixel_format": "DXT5"})],
    "ICO": [("RGBA", {}), ("RGBA", {"bitmap_format": "bmp"}), ("RGB", {"bitmap_format": "bmp", "sizes": [(32, 24)]})],
    "QOI": [("RGB", {}), ("RGBA", {})],
}
_NEEDED = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
_MADE: dict[str, Callable[[Image.Image], list[bytes]]] = {
    "PSD": more_formats.psd,
    "ICNS": more_formats.icns,
    "float TIFF": more_formats.floats,
    "PFM": more_formats.pfm,
    **({"HEIC": lambda image: more_formats.heic()} if more_formats.HAS_HEIC else {}),
    **({"JPEG XL": more_formats.jpeg_xl} if more_formats.HAS_JXL else {}),
    **({"RAW": more_formats.raw} if more_formats.HAS_RAW else {}),
}
FORMATS = (*(kind for kind in _OPTIONS if kind not in _NEEDED or features.check(_NEEDED[kind])), *_MADE)
_NUMBERS = (0, 1, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_HEAD = 200  # Most of what a library believes is there.


def seeds(kind: str) -> list[bytes]:
    """Whole files of a format, of each mode and compression that a damage may meet otherwise."""
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (36, 48, 4), dtype=np.uint8))
    ImageDraw.Draw(image).ellipse((4, 4, 40, 30), fill=(200, 30, 60, 255))
    if kind in _MADE:
        return _MADE[kind](image)
    made = []
    for mode, options in _OPTIONS[kind]:
        first = image.convert("RGB").convert(mode) if mode != "RGBA" else image
        more = {"append_images": [first.rotate(90), first.rotate(180)]} if options.get("save_all") else {}
        file = io.BytesIO()
        first.save(file, kind, **options, **more)
        made.append(file.getvalue())
    return made


def mutated(files: list[bytes], number: int, kind: str) -> bytes:
    """Mutation `number` of the seeds: one to four damages of one of them, always the same ones."""
    dice = random.Random(f"{kind} {number}")
    data = bytearray(dice.choice(files))
    if kind == "PNG" and dice.random() < 0.7:  # Otherwise hardly any damage gets further than lengths and checksums.
        return _other_parts(bytes(data), dice, files)
    for _ in range(dice.randint(1, 4)):
        dice.choice(_DAMAGES)(data, dice, files)
    return bytes(data)


def _other_parts(png: bytes, dice: random.Random, files: list[bytes]) -> bytes:
    """A PNG with parts changed, left out, doubled or in another order, each with its right length and checksum."""
    parts = _parts(png)
    for _ in range(dice.randint(1, 3)):
        at, to = dice.randrange(len(parts)), dice.randrange(len(parts))
        what = dice.randrange(6)
        if what == 0:
            parts.insert(to, parts[at])
        elif what == 1:
            parts[at], parts[to] = parts[to], parts[at]
        elif what == 2 and len(parts) > 2:
            del parts[at]
        elif what == 3:
            parts.insert(to, dice.choice(_parts(dice.choice(files))))
        else:
            name, body = parts[at]
            changed = bytearray(body)
            dice.choice(_DAMAGES)(changed, dice, [b"\0" * 26, body or b"\0"])
            parts[at] = (name, bytes(changed))
    return png[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


def _parts(png: bytes) -> list[tuple[bytes, bytes]]:
    at, parts = 8, []
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        parts.append((png[at + 4 : at + 8], png[at + 8 : end]))
        at = end + 4
    return parts


def _place(data: bytearray, dice: random.Random) -> int:
    return dice.randrange(min(len(data), _HEAD) if dice.random() < 0.5 else len(data)) if data else 0


def _flip(data: bytearray, dice: random.Random, files: list[bytes]) -> None:
    for _ in range(dice.randint(1, 8)):
        if data:
            data[_place(data, dice)] ^= 1 << dice.randrange(8)


def _number(data: bytearray, dice: random.Random, files: list[bytes]) -> None:
    at, form = _place(data, dice), dice.choice((">I", "<I", ">H", "<H"))
    size = struct.calcsize(form)
    data[at : at + size] = struct.pack(form, dice.choice(_NUMBERS) & (256**size - 1))


def _cut(data: bytearray, dice: random.Random, files: list[bytes]) -> None:
    del data[_place(data, dice) :]


def _drop(data: bytearray, dice: random.Random, files: list[bytes]) -> None:
    at = _place(data, dice)
    del data[at : at + dice.randint(1, 40)]


def _double(data: bytearray, dice: random.Random, files: list[bytes]) -> None:
    at = _place(data, dice)
    data[at:at] = data[at : at + dice.randint(1, 400)] * dice.randint(1, 5)


def _splice(data: bytearray, dice: random.Random, files: list[bytes]) -> None:
    other = dice.choice(files)
    at = dice.randrange(len(other))
    data[_place(data, dice) :] = other[at:]


def _zeros(data: bytearray, dice: random.Random, files: list[bytes]) -> None:
    at = _place(data, dice)
    data[at:] = bytes(len(data) - at)


_DAMAGES: tuple[Callable[[bytearray, random.Random, list[bytes]], None], ...] = (
    _flip,
    _number,
    _number,
    _cut,
    _drop,
    _double,
    _splice,
    _zeros,
)
