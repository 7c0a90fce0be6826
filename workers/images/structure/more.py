"""Check PSD, PCX, QOI, TGA and DDS files: compare what they claim with the file."""

import re
import struct
from collections.abc import Callable
from typing import Final

from shared.errors import ImageError
from workers.images.structure.claims import cut_short, require_data, require_pixels

# Pillow reads a QOI, and most plain DDS, a pixel at a time: more than these take over ten seconds.
MOST_SLOW: Final = 1 << 24
_PSD_GREY, _PSD_INDEXED, _PSD_RGB, _PSD_CMYK, _PSD_DUOTONE = 1, 2, 3, 4, 8
_PSD_SAMPLES: Final = {_PSD_GREY: 1, _PSD_INDEXED: 1, _PSD_RGB: 3, _PSD_CMYK: 4, _PSD_DUOTONE: 1}
_PSD_MODES: Final = {0: "Bitmap", 7: "Multichannel", 9: "Lab"}
_PSD_VERSION_INFO: Final = 1057  # A resource whose fifth byte is 0 if the file has no picture beside the layers.
_PACKBITS_RATIO: Final = 64
_PCX_RUNS: Final = re.compile(rb"[\xc0-\xff].|[\0-\xbf]+", re.DOTALL)
_PCX_PALETTE: Final = 769
_PCX_KINDS: Final = ((1, 1), (1, 2), (1, 4), (8, 1), (8, 3))  # Bits and planes.
_QOI_END: Final = bytes(7) + b"\1"
_QOI_RUN: Final = 62
_TGA_END: Final = b"TRUEVISION-XFILE.\0"
_TGA_KINDS: Final = (1, 2, 3, 9, 10, 11)
_TGA_RUN: Final = 128
# Bytes for each 4 x 4 pixels, by the name of a DDS's compression or its number in the longer header.
_DDS_BLOCKS: Final = {
    b"DXT1": 8, b"ATI1": 8, b"BC4U": 8, b"DXT3": 16, b"DXT5": 16, b"ATI2": 16, b"BC5U": 16,
}  # fmt: skip
_DDS_NUMBERS: Final = {
    27: 64, 28: 64, 29: 64, 70: 8, 71: 8, 73: 16, 74: 16, 76: 16, 77: 16, 79: 8, 80: 8, 82: 16, 83: 16, 97: 16, 98: 16,
    99: 16,
}  # fmt: skip
_DDS_PLAIN: Final = 64
_DDS_HAS_NAME, _DDS_RGB, _DDS_GREY = 0x4, 0x40, 0x20000


def _require_psd(data: bytes, max_pixels: int) -> None:
    if len(data) < 26:
        raise cut_short(data, "its header is not whole")
    version, channels, height, width, bits, mode = struct.unpack(">H6xHIIHH", data[4:26])
    if version != 1:
        raise ImageError("The file is a large Photoshop document (PSB), which is not decoded here: save it as PSD.")
    require_pixels(width, height, max_pixels)
    if mode not in _PSD_SAMPLES or bits != 8 or channels < _PSD_SAMPLES.get(mode, 0):
        name = _PSD_MODES.get(mode, f"mode {mode}")
        how = f"{bits} bits a sample" if mode in _PSD_SAMPLES else f"the colours of {name}"
        raise ImageError(f"The Photoshop document has {how}, which are not decoded here: convert it to 8 bits RGB.")
    at = 26
    for part in ("palette", "resources", "layers"):
        if at + 4 > len(data):
            raise cut_short(data, f"its {part} are missing")
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 4 + length > len(data):
            raise cut_short(data, f"its {part} have {length:,} bytes")
        if part == "resources":
            _require_composite(data, at + 4, at + 4 + length)
        at += 4 + length
    if at + 2 > len(data):
        raise cut_short(data, "it ends before its pixels")
    compression, at = int.from_bytes(data[at : at + 2], "big"), at + 2
    shown = _PSD_SAMPLES[mode]
    if compression == 0:
        require_data(data, len(data) - at, channels * width * height, width, height)
    elif compression == 1:
        rows = height * channels
        require_data(data, len(data) - at, 2 * rows, width, height)
        lengths = struct.unpack(f">{rows}H", data[at : at + 2 * rows])
        require_data(data, len(data) - at - 2 * rows, sum(lengths), width, height)
        if sum(lengths[: height * shown]) * _PACKBITS_RATIO < height * shown * width:
            raise ImageError(f"The Photoshop document's rows can't hold {width} x {height} pixels: it is damaged.")
    else:
        raise ImageError("The Photoshop document's picture is deflated, which is unusual and not decoded here.")


def plain_psd(data: bytes) -> bytes:
    """A document that has passed `require_more`, without its layers and resources, and with only its colours.

    Further channels are selections, or the transparency of a picture that is on white already. Pillow takes a fourth
    for alpha, and reads wrong rows if there are more.
    """
    channels, height, width, mode = struct.unpack(">HII2xH", data[12:26])
    shown, at = _PSD_SAMPLES[mode], 26
    palette = data[30 : 30 + int.from_bytes(data[26:30], "big")]
    for _ in range(3):
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    head = data[:12] + struct.pack(">H", shown) + data[14:26] + struct.pack(">I", len(palette)) + palette + bytes(8)
    begins = at + 2
    if data[at : at + 2] == bytes(2):
        return head + data[at : begins + shown * height * width]
    return head + data[at : begins + 2 * height * shown] + data[begins + 2 * height * channels :]


def _require_composite(data: bytes, at: int, end: int) -> None:
    """Raise ImageError for a document that was saved with layers only: its picture is plain white."""
    while at + 12 <= end and data[at : at + 4] == b"8BIM":
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        at += 6 + (data[at + 6] + 2) // 2 * 2
        length = int.from_bytes(data[at : at + 4], "big")
        if number == _PSD_VERSION_INFO and length >= 5 and data[at + 8 : at + 9] == b"\0":
            raise ImageError(
                "The Photoshop document holds layers and no picture of the whole: save it with 'Maximize "
                "Compatibility'."
            )
        at += 4 + (length + 1) // 2 * 2


def is_pcx(data: bytes) -> bool:
    """Whether the file begins as a PCX of runs: a line feed and three small numbers, so no text does."""
    return data[:1] == b"\n" and data[1:2] in (b"\0", b"\2", b"\3", b"\5") and data[2:3] == b"\1"


def _require_pcx(data: bytes, max_pixels: int) -> None:
    """Follow the runs up to the last pixel: the palette is behind it, and is found from the end of the file."""
    if len(data) < 128:
        raise cut_short(data, "its header is not whole")
    version, bits = data[1], data[3]
    left, top, right, bottom = struct.unpack("<4H", data[4:12])
    planes, stride = struct.unpack("<BH", data[65:68])
    width, height = right - left + 1, bottom - top + 1
    if width < 1 or height < 1 or (bits, planes) not in _PCX_KINDS or (bits == 8 and version != 5):
        raise ImageError(
            f"The PCX of version {version} has {width} x {height} pixels in {planes} planes of {bits} bits, which is "
            "unusual or damaged, and not decoded here."
        )
    require_pixels(width, height, max_pixels)
    least = -(-width * bits // 8)
    missing = (least if stride == least else least + least % 2) * planes * height
    at = 128
    for run in _PCX_RUNS.finditer(data, at):
        if missing <= 0:
            break
        first = run[0][0]
        missing -= first & 0x3F if first >= 0xC0 else len(run[0])
        at = run.end() if missing >= 0 or first >= 0xC0 else run.end() + missing
    if missing > 0:
        raise cut_short(data, f"its runs end before {width} x {height} pixels")
    # The third byte of its second half says that it is grey and needs no palette.
    if version == 5 and bits == 8 and planes == 1 and data[68] != 2:
        palette = len(data) - _PCX_PALETTE
        if palette < at or data[palette] != 12:
            raise cut_short(data, "its palette is missing")


def _require_qoi(data: bytes, max_pixels: int) -> None:
    if len(data) < 14:
        raise cut_short(data, "its header is not whole")
    width, height = struct.unpack(">II", data[4:12])
    require_pixels(width, height, max_pixels)
    _require_quick("QOI", width, height)
    if data.rfind(_QOI_END) < 0:
        raise cut_short(data, "its end mark is missing")
    require_data(data, len(data) - 14 - len(_QOI_END), width * height // _QOI_RUN, width, height)


def _require_quick(kind: str, width: int, height: int) -> None:
    if width * height > MOST_SLOW:
        raise ImageError(
            f"The {kind} has {width * height:,} pixels ({width} x {height}); of this format at most {MOST_SLOW:,} are "
            "decoded, because more take too long: convert it to PNG.",
            "oversized",
        )


def is_tga(data: bytes) -> bool:
    """Whether the file is a TGA, by its last bytes: its first bytes tell nothing, and older ones have no such end."""
    return len(data) > 44 and data.endswith(_TGA_END) and data[1] in (0, 1) and data[2] in _TGA_KINDS


def _require_tga(data: bytes, max_pixels: int) -> None:
    colours, entry = struct.unpack("<HB", data[5:8])
    width, height, bits = struct.unpack("<HHB", data[12:17])
    require_pixels(width, height, max_pixels)
    if bits not in (8, 16, 24, 32) or (data[1] and entry not in (16, 24, 32)):
        raise ImageError(f"The TGA has {bits} bits a pixel, or {entry} a colour, which are not decoded here.")
    found = len(data) - 26 - 18 - data[0] - (colours * entry // 8 if data[1] else 0)
    least = width * height * bits // 8
    if data[2] & 8:
        least = -(-width * height // _TGA_RUN) * (1 + bits // 8)
    require_data(data, found, least, width, height)


def _require_dds(data: bytes, max_pixels: int) -> None:
    if len(data) < 128:
        raise cut_short(data, "its header is not whole")
    height, width = struct.unpack("<II", data[12:20])
    flags, name, bits = struct.unpack("<I4sI", data[80:92])
    require_pixels(width, height, max_pixels)
    found, block = len(data) - 128, _DDS_BLOCKS.get(name)
    if flags & _DDS_HAS_NAME and name == b"DX10":
        if len(data) < 148:
            raise cut_short(data, "its header is not whole")
        found, block = found - 20, _DDS_NUMBERS.get(int.from_bytes(data[128:132], "little"))
    if flags & (_DDS_RGB | _DDS_GREY) and bits in (8, 16, 24, 32):
        _require_quick("DDS", width, height)
        require_data(data, len(data) - 128, width * height * bits // 8, width, height)
    elif flags & _DDS_HAS_NAME:
        if block is None:
            raise ImageError("The DDS is compressed in a way that is not decoded here: convert it to PNG.")
        least = width * height * 4 if block == _DDS_PLAIN else -(-width // 4) * -(-height // 4) * block
        require_data(data, found, least, width, height)
    else:
        raise ImageError(f"The DDS has {bits} bits a pixel of an unusual kind, which is not decoded here.")


_CHECKS: Final[dict[bytes, Callable[[bytes, int], None]]] = {
    b"8BPS": _require_psd,
    b"qoif": _require_qoi,
    b"DDS ": _require_dds,
}


def require_more(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for a PSD, PCX, QOI, TGA or DDS whose parts end behind it, or of too many pixels."""
    check = _CHECKS.get(data[:4])
    if check is not None:
        check(data, max_pixels)
    elif is_pcx(data):
        _require_pcx(data, max_pixels)
    elif is_tga(data):
        _require_tga(data, max_pixels)
