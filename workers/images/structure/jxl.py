"""Check JPEG XL files: read what the first bits of their code stream say about the picture."""

from dataclasses import dataclass
from typing import Final

from shared.errors import ImageError
from workers.images.structure.boxes import boxes
from workers.images.structure.claims import cut_short, require_pixels

_CODESTREAM: Final = b"\xff\x0a"
_CONTAINER: Final = b"\0\0\0\x0cJXL \r\n\x87\n"
_HEADER_BYTES: Final = 4_096
_ALPHA: Final = 0
_EXTRAS: Final = {1: "depth", 2: "a spot colour", 3: "a selection", 4: "black ink", 5: "sensor samples", 6: "heat"}
# The ratios of width to height for which a number of three bits stands.
_RATIOS: Final = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
# The ways to write a number: two bits choose one of four, each an offset and the number of bits that follow.
_SIDE: Final = ((1, 9), (1, 13), (1, 18), (1, 30))
_PREVIEW_EIGHTHS: Final = ((16, 0), (32, 0), (1, 5), (33, 9))
_PREVIEW_SIDE: Final = ((1, 6), (65, 8), (321, 10), (1_345, 12))
_KIND: Final = ((0, 0), (1, 0), (2, 4), (18, 6))


@dataclass(frozen=True, slots=True)
class JxlHeader:
    """Width and height before any turning, bits of a colour sample, whether they are floats, and whether it has alpha.

    `strange` names what is in it that is not decoded here; "" for nothing.
    """

    width: int
    height: int
    bits: int
    floats: bool
    alpha: bool
    strange: str


def is_jxl(data: bytes) -> bool:
    """Whether the file begins as a JPEG XL, alone or in boxes."""
    return data.startswith((_CODESTREAM, _CONTAINER))


def require_jxl(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for a JPEG XL of too many pixels, of a kind that is not decoded, or that is not whole."""
    header = jxl_header(data)
    require_pixels(header.width, header.height, max_pixels)
    if header.strange:
        raise ImageError(f"The JPEG XL holds {header.strange}, which is not decoded here: convert it to PNG.")


def jxl_header(data: bytes) -> JxlHeader:
    """The header in the code stream of a JPEG XL; ImageError if the stream is not whole."""
    stream = _stream(data)
    try:
        return _Bits(stream[2:]).header()
    except IndexError:
        raise cut_short(data, "the header of its pixels is not whole") from None


def _stream(data: bytes) -> bytes:
    """The beginning of the code stream, which may be in one box or in several."""
    if not data.startswith(_CONTAINER):
        return data[:_HEADER_BYTES]
    parts = []
    for kind, start, end in boxes(data, 0, len(data)):
        if kind == b"jxlc":
            parts.append(data[start : min(end, start + _HEADER_BYTES)])
        elif kind == b"jxlp":
            parts.append(data[start + 4 : min(end, start + _HEADER_BYTES)])
    stream = b"".join(parts)[:_HEADER_BYTES]
    if not stream:
        raise cut_short(data, "it ends before its pixels")
    if not stream.startswith(_CODESTREAM):
        raise ImageError("The JPEG XL is damaged: its pixels do not begin as they must.")
    return stream


class _Bits:
    """The bits of a code stream, the lowest of each byte first. IndexError at its end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> int:
        """A number of so many bits."""
        end = self._at + count
        if end > 8 * len(self._data):
            raise IndexError
        first = self._at // 8
        whole = int.from_bytes(self._data[first : -(-end // 8)], "little")
        number = whole >> (self._at % 8) & ((1 << count) - 1)
        self._at = end
        return number

    def number(self, ways: tuple[tuple[int, int], ...]) -> int:
        offset, bits = ways[self.take(2)]
        return offset + self.take(bits)

    def header(self) -> JxlHeader:
        width, height = self._size()
        bits, floats, extras, strange = 8, False, 0, ""
        if not self.take(1):
            if self.take(1):
                self._extra_fields()
            bits, floats = self._depth()
            self.take(1)
            extras = self.number(((0, 0), (1, 0), (2, 4), (1, 12)))
            strange = self._extra_channel() if extras == 1 else ""
        if extras > 1:
            strange = f"{extras:,} channels beside its colours"
        return JxlHeader(width, height, bits, floats, extras == 1, strange)

    def _size(self) -> tuple[int, int]:
        eighths = self.take(1)
        height = 8 * (1 + self.take(5)) if eighths else self.number(_SIDE)
        if ratio := self.take(3):
            across, down = _RATIOS[ratio]
            return height * across // down, height
        return 8 * (1 + self.take(5)) if eighths else self.number(_SIDE), height

    def _extra_fields(self) -> None:
        """Skip orientation, display size, preview and animation."""
        self.take(3)
        if self.take(1):
            self._size()
        if self.take(1):
            eighths = self.take(1)
            ways = _PREVIEW_EIGHTHS if eighths else _PREVIEW_SIDE
            self.number(ways)
            if not self.take(3):
                self.number(ways)
        if self.take(1):
            self.number(((100, 0), (1_000, 0), (1, 10), (1, 30)))
            self.number(((1, 0), (1_001, 0), (1, 8), (1, 10)))
            self.number(((0, 0), (0, 3), (0, 16), (0, 32)))
            self.take(1)

    def _depth(self) -> tuple[int, bool]:
        if not self.take(1):
            return self.number(((8, 0), (10, 0), (12, 0), (1, 6))), False
        bits = self.number(((32, 0), (16, 0), (24, 0), (1, 6)))
        self.take(4)
        return bits, True

    def _extra_channel(self) -> str:
        """The name of an unusual channel beside the colours; most often the channel is plain alpha."""
        if self.take(1):
            return ""
        kind = self.number(_KIND)
        if kind != _ALPHA:
            return f"{_EXTRAS.get(kind, 'an unknown channel')} beside its colours"
        self._depth()
        self.number(((0, 0), (3, 0), (4, 0), (1, 3)))
        self.take(8 * self.number(((0, 0), (0, 4), (16, 5), (48, 10))))
        return "colours that were multiplied by their alpha" if self.take(1) else ""
