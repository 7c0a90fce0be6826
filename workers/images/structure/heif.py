"""Check HEIC files, which consist of boxes as AVIF does: compare what they claim with the file and the limits."""

from collections.abc import Iterator

from shared.errors import ImageError
from workers.images.structure.boxes import boxes, extents, require_avif
from workers.images.structure.claims import require_pixels

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_PARENTS = (b"iprp", b"ipco")
# Pictures that are composed of others have their size in a few bytes of their own.
_PUT_TOGETHER = {b"grid": 4, b"iovl": 10}
_SEQUENCE = 33  # The part of HEVC data that says how large its pictures are.
_MOST_SEQUENCES = 16  # HEVC numbers its parameter sets from 0 to 15.
_MOST_SUB_LAYERS = 6
# Encoders fill up a picture to whole blocks, of 64 pixels at most, and write beside it how much to cut off.
_PADDING = 128


def is_heif(data: bytes) -> bool:
    """Whether the file begins as a HEIC or other HEIF of HEVC pictures; an AVIF of a general brand does not."""
    if data[4:8] != b"ftyp" or data[8:12] not in _BRANDS:
        return False
    length = int.from_bytes(data[:4], "big")
    others = data[16 : min(length, 256)]
    return not any(others[at : at + 4] in _AVIF_BRANDS for at in range(0, len(others), 4))


def require_heif(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for a HEIC of too many pixels by any of its sizes, or whose end is missing.

    The property ispe, the HEVC data, and the item that joins tiles each give a size: a decoder allocates memory by each
    of them.
    """
    require_avif(data, max_pixels)
    sides, coded = [(0, 0)], []
    kinds: dict[int, bytes] = {}
    held, located = (0, 0), []
    for kind, start, end in _properties(data):
        if kind == b"ispe" and end - start >= 12:
            sides.append((_number(data, start + 4), _number(data, start + 8)))
        elif kind == b"hvcC":
            coded += _coded_sizes(data[start:end])
        elif kind == b"infe" and data[start : start + 1] in (b"\2", b"\3"):
            wide = 2 * data[start] - 2
            item = int.from_bytes(data[start + 4 : start + 4 + wide], "big")
            kinds[item] = data[start + 6 + wide : start + 10 + wide]
            _require_words(kinds[item], data[start + 10 + wide : end])
        elif kind == b"idat":
            held = (start, end)
        elif kind == b"iloc":
            located = extents(data, start, end)
    widest, highest = (max(side) for side in zip(*sides, strict=True))
    for width, height in coded:
        require_pixels(width, height, max_pixels)
        if width > widest + _PADDING or height > highest + _PADDING:
            raise ImageError(
                f"The HEIC says that its pictures have {widest} x {highest} pixels or fewer, and holds one of "
                f"{width} x {height}: it is damaged, or made to waste memory."
            )
    for item, method, offset, length in located:
        at = _PUT_TOGETHER.get(kinds.get(item, b""))
        if at is not None and method < 2:
            begins = (held[0] if method == 1 else 0) + offset
            _require_put_together(data[begins : begins + length], at, max_pixels)


def _properties(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """All boxes that say what is in the file; require_avif has seen that they are inside it."""
    waiting = [(start + 4, end) for kind, start, end in boxes(data, 0, len(data)) if kind == b"meta"]
    while waiting:
        for kind, start, end in boxes(data, *waiting.pop()):
            if kind in _PARENTS:
                waiting.append((start, end))
            elif kind == b"iinf":
                waiting.append((start + (6 if data[start : start + 1] == b"\0" else 8), end))
            else:
                yield kind, start, end


def _require_words(kind: bytes, rest: bytes) -> None:
    """Raise ImageError if the kind or a name of an item is no text, which would make pi-heif end the process."""
    try:
        kind.decode("ascii")
        rest.decode("utf-8")
    except UnicodeDecodeError:
        raise ImageError("The HEIC is damaged: the kind or the name of a part of it is no text.") from None


def _number(data: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _require_put_together(body: bytes, at: int, max_pixels: int) -> None:
    size = 4 if body[1:2] and body[1] & 1 else 2
    require_pixels(_number(body, at, size), _number(body, at + size, size), max_pixels)


def _coded_sizes(body: bytes) -> list[tuple[int, int]]:
    """Width and height from each description of a sequence in a decoder's settings."""
    found: list[tuple[int, int]] = []
    at = 23
    for _ in range(body[22] if len(body) > 22 else 0):
        kind, count = body[at : at + 1], _number(body, at + 1, 2)
        at += 3
        for _ in range(count):
            if at >= len(body) or len(found) == _MOST_SEQUENCES:
                break  # The decoder says so.
            length = _number(body, at, 2)
            if kind and kind[0] & 0x3F == _SEQUENCE:
                found.append(_sequence_size(body[at + 2 : at + 2 + length]))
            at += 2 + length
    return found


def _sequence_size(unit: bytes) -> tuple[int, int]:
    """Width and height in a sequence parameter set of HEVC."""
    body = unit[2:].replace(b"\0\0\3", b"\0\0")
    bits, at = "".join(format(byte, "08b") for byte in body[:128]), 0

    def skip(count: int) -> str:
        nonlocal at
        at += count
        return bits[at - count : at]

    def number() -> int:
        """An Exp-Golomb number: as many bits behind its first 1 as there are zeros before it."""
        zeros = bits.find("1", at) - at
        if not 0 <= zeros <= 32:
            raise ImageError("The HEIC is damaged: how large its pictures are can't be read.")
        skip(zeros)
        return int(skip(zeros + 1) or "1", 2) - 1

    skip(4)
    layers = int(skip(3) or "0", 2)
    if layers > _MOST_SUB_LAYERS:
        raise ImageError(
            f"The HEIC is damaged: it has {layers + 1} layers in time, and {_MOST_SUB_LAYERS + 1} at most."
        )
    skip(1 + 96)
    present = [skip(2) for _ in range(8)][:layers] if layers else []
    for flags in present:
        skip(88 * (flags[:1] == "1") + 8 * (flags[1:] == "1"))
    number()
    if number() == 3:
        skip(1)
    return number(), number()
