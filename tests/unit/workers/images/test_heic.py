"""HEIC: the right pixels, turned once, on white, of eight bits; what is missing, too large or made up is refused."""

import base64
import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ImageError
from shared.models.preprocessing import REDUCED, REDUCED_OPAQUE, STRICT, STRICT_OPAQUE
from tests.support.images.strange import patched
from workers.images import header
from workers.images.decode import decode, decode_photo
from workers.images.structure.heif import is_heif, require_heif

ROOMY = 10**8
RED, BLUE, WHITE = (200, 40, 30), (20, 60, 180), (255, 255, 255)
# 64 x 48 pixels of our own, the left half red and the right one blue: pillow_heif.from_bytes(...).save(quality=60) of
# pillow-heif 1.8.1, which nothing here depends on. `turned` has the box irot and an EXIF block that say orientation 6,
# as a telephone writes both; the lower half of `alpha` is transparent; `ten` has ten bits a sample.
FILES = {
    name: base64.b64decode(text)
    for name, text in {
        "plain": (
            "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJp"
            "bG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAHgAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAAB"
            "AAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEA"
            "AQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAA"
            "FGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhp"
            "cG1hAAAAAAAAAAEAAQWBAgMFhAAAAIBtZGF0AAAAdCgBrwngOSMkv//5BH//+MRuQ/YtCcF//ayd9/dcf//uxt1EY1iyx/nbNH9W1yli"
            "rEY5jqmgIkm99+/He1kMO6EwQgWtcnfDhd12+lhb8EpyJ+LEt5iNcdMhatiRMxS1Gl0aVkgpX0ptQAZPo1g5qiT7osl/"
        ),
        "turned": (
            "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRp"
            "bG9jAAAAAERAAAIAAQAAAAAB7AABAAAAAAAAAHgAAgAAAAACZAABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABo"
            "dmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA"
            "/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMD"
            "IAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAA"
            "AAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAA"
            "AAAAAAAOY2RzYwACAAEAAQAAAKRtZGF0AAAAdCgBrwngOSMkv//5BH//+MRuQ/YtCcF//ayd9/dcf//uxt1EY1iyx/nbNH9W1ylirEY5"
            "jqmgIkm99+/He1kMO6EwQgWtcnfDhd12+lhb8EpyJ+LEt5iNcdMhatiRMxS1Gl0aVkgpX0ptQAZPo1g5qiT7osl/AAAABkV4aWYAAE1N"
            "ACoAAAAIAAEBEgADAAAAAQAGAAAAAAAA"
        ),
        "alpha": (
            "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAmttZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRp"
            "bG9jAAAAAERAAAIAAQAAAAACjwABAAAAAAAAAHgAAgAAAAADBwABAAAAAAAAABwAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABo"
            "dmMxAAAAABVpbmZlAgAAAAACAABodmMxAAAAAA5waXRtAAAAAAABAAABqmlwcnAAAAGCaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA"
            "/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMD"
            "IAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAA"
            "AAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAAHBodmNDAQQIAAAAn/gAAAAAHvAA/Pz4+AAADwNgAAEAF0ABDAH//wQI"
            "AAADAJ/4AAADAAAeugJAYQABACVCAQEECAAAAwCf+AAAAwAAHsCCBBZbq5Ka5sCAAAAMgAAAAwCEYgABAAZEAcFzwIkAAAAOcGl4aQAA"
            "AAABCAAAACdhdXhDAAAAAHVybjptcGVnOmhldmM6MjAxNTphdXhpZDoxAAAAACBpcG1hAAAAAAAAAAIAAQWBAgMFhAACBYYDB4iEAAAA"
            "GmlyZWYAAAAAAAAADmF1eGwAAgABAAEAAACcbWRhdAAAAHQoAa8J4DkjJL//+QR///jEbkP2LQnBf/2snff3XH//7sbdRGNYssf52zR/"
            "VtcpYqxGOY6poCJJvffvx3tZDDuhMEIFrXJ3w4XddvpYW/BKcifixLeYjXHTIWrYkTMUtRpdGlZIKV9KbUAGT6NYOaok+6LJfwAAABgo"
            "Aa4TwDvNa/7lxZP6F3/8GV0wNFCsxFw="
        ),
        "ten": (
            "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJp"
            "bG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAAFIAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAAB"
            "AAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQQIAAAAnbgAAAAAHvAA/P36+gAADwNgAAEAF0ABDAH//wQIAAADAJ24AAADAAAeugJAYQAB"
            "ACpCAQEECAAAAwCduAAAAwAAHqAggQTZbq5Ka5uAhoMCAAADADIAAAMAAhBiAAEABkQBwXPAiQAAABNjb2xybmNseAABAA0ABoAAAAAU"
            "aXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAQAAAAAEAAAAwAAAAAQAAAAAAAAAC////8AAAAAIAAAAQcGl4aQAAAAADCgoKAAAAGGlw"
            "bWEAAAAAAAAAAQABBYECAwWEAAAAWm1kYXQAAABOKAGvCeA5IzKf//sOr//+i9uQ/kcHw6//winPv8ajH//i8PphkAPmQCYdbMk/lCv8"
            "cEmIqiqSZqfKx58l7kb+fn93gLUPwztrsD183Fwy"
        ),
    }.items()
}


def quarters(data: bytes, how: str = REDUCED) -> list[list[int]]:
    """The colours in the middle of the four quarters, from the upper left one in rows."""
    pixels = decode_photo(data, 1000, ROOMY, how)
    height, width = pixels.shape[:2]
    rows = np.array([height // 4, height // 4, 3 * height // 4, 3 * height // 4])
    columns = np.array([width // 4, 3 * width // 4] * 2)
    found: NDArray[np.uint8] = pixels[rows, columns]
    return [list(map(int, colour)) for colour in found]


@pytest.mark.parametrize("how", [REDUCED, STRICT, REDUCED_OPAQUE, STRICT_OPAQUE])
@pytest.mark.parametrize(
    ("name", "shape", "colours"),
    [
        ("plain", (48, 64, 3), [RED, BLUE, RED, BLUE]),
        ("turned", (64, 48, 3), [RED, RED, BLUE, BLUE]),
        ("alpha", (48, 64, 3), [RED, BLUE, WHITE, WHITE]),
        ("ten", (48, 64, 3), [RED, BLUE, RED, BLUE]),
    ],
)
def test_a_heic_gives_its_colours_upright_on_white_in_every_job(
    name: str, shape: tuple[int, int, int], colours: list[tuple[int, int, int]], how: str
) -> None:
    assert decode_photo(FILES[name], 1000, ROOMY, how).shape == shape
    np.testing.assert_allclose(quarters(FILES[name], how), colours, atol=2)
    image = decode(FILES[name], 32, ROOMY, how)
    assert (image.height, image.width, image.pixels.shape) == (*shape[:2], (32, 32, 3))


def test_a_heic_of_a_general_brand_is_read_as_well() -> None:
    data = FILES["plain"]
    np.testing.assert_allclose(quarters(data[:8] + b"mif1" + data[12:]), [RED, BLUE, RED, BLUE], atol=2)


@pytest.mark.parametrize("name", FILES)
def test_a_heic_that_is_cut_anywhere_is_truncated(name: str) -> None:
    data = FILES[name]
    for length in range(12, len(data)):
        with pytest.raises(ImageError) as caught:
            decode(data[:length], 32, ROOMY)
        assert caught.value.status == "truncated", length


def test_a_heic_whose_pixels_were_never_written_is_truncated() -> None:
    data = FILES["plain"]
    with pytest.raises(ImageError) as caught:
        decode(data[:-70] + bytes(70), 32, ROOMY)
    assert caught.value.status == "truncated"


def test_a_heic_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = patched(FILES["plain"], b"ispe", 8, ">II", 20_000, 20_000)
    monkeypatch.setattr("workers.images.decode.pillow_pixels", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match="400,000,000 pixels") as caught:
        decode(data, 32, ROOMY)
    assert caught.value.status == "oversized"


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def heif(*parts: bytes) -> bytes:
    return box(b"ftyp", b"heic" + bytes(4) + b"mif1") + box(b"meta", bytes(4) + b"".join(parts))


def golomb(value: int) -> str:
    bits = format(value + 1, "b")
    return "0" * (len(bits) - 1) + bits


def settings(width: int, height: int, layers: int = 0) -> bytes:
    """The settings of a HEVC decoder, with one sequence of pictures of that size."""
    below = "11" * layers + "00" * (8 - layers) * bool(layers) + "0" * 96 * layers
    bits = "0000" + format(layers, "03b") + "1" + "0" * 96 + below + "".join(map(golomb, (0, 1, width, height))) + "1"
    bits += "0" * (-len(bits) % 8)
    plain = int(bits, 2).to_bytes(len(bits) // 8, "big")
    unit = b"\x42\x01" + plain.replace(b"\0\0", b"\0\0\3")
    return box(b"hvcC", bytes(22) + b"\1" + b"\x21" + struct.pack(">HH", 1, len(unit)) + unit)


@pytest.mark.parametrize("layers", [0, 2, 6])
def test_what_a_picture_is_coded_as_must_be_what_the_heic_says_of_it(layers: int) -> None:
    def made(width: int, height: int) -> bytes:
        said = box(b"ispe", bytes(4) + struct.pack(">II", 640, 480))
        return heif(box(b"iprp", box(b"ipco", said + settings(width, height, layers))))

    require_heif(made(640, 512), ROOMY)
    with pytest.raises(ImageError, match="holds one of 8192 x 480") as caught:
        require_heif(made(8_192, 480), ROOMY)
    assert caught.value.status == "undecodable"
    with pytest.raises(ImageError, match="65535 x 65535") as caught:
        require_heif(made(65_535, 65_535), ROOMY)
    assert caught.value.status == "oversized"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"grid", b"\0\0\1\1" + struct.pack(">HH", 20_000, 20_000)),
        (b"grid", b"\0\1\1\1" + struct.pack(">II", 20_000, 20_000)),
        (b"iovl", bytes(10) + struct.pack(">HH", 20_000, 20_000)),
    ],
)
def test_tiles_put_together_to_too_many_pixels_are_refused(kind: bytes, body: bytes) -> None:
    item = box(b"infe", b"\2\0\0\0" + struct.pack(">HH", 7, 0) + kind + b"\0")
    items = box(b"iinf", bytes(4) + b"\0\1" + item)
    where = box(b"iloc", b"\1\0\0\0\x44\0" + struct.pack(">HHHHHII", 1, 7, 1, 0, 1, 0, len(body)))
    with pytest.raises(ImageError, match="400,000,000 pixels") as caught:
        require_heif(heif(items, where, box(b"idat", body)), ROOMY)
    assert caught.value.status == "oversized"


@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize("byte", [128, 195, 255])
def test_a_part_whose_kind_is_no_text_is_refused_and_ends_no_process(offset: int, byte: int) -> None:
    data = patched(FILES["turned"], b"Exif", offset, "<B", byte)
    with pytest.raises(ImageError, match="is no text") as caught:
        decode(data, 32, ROOMY)
    assert caught.value.status == "undecodable"


def test_an_avif_is_no_heic_whatever_its_first_brand() -> None:
    assert is_heif(box(b"ftyp", b"mif1" + bytes(4) + b"mif1heic"))
    assert not is_heif(box(b"ftyp", b"mif1" + bytes(4) + b"mif1avif"))
    assert not is_heif(box(b"ftyp", b"avif" + bytes(4) + b"mif1"))


def test_without_pi_heif_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "FORMATS", tuple(name for name in header.FORMATS if name != "HEIF"))
    for data in (FILES["plain"], FILES["plain"][:8] + b"mif1" + FILES["plain"][12:]):
        with pytest.raises(ImageError, match=r"HEIC image.*pip install 'lookalike\[worker\]'") as caught:
            decode(data, 32, ROOMY)
        assert caught.value.status == "undecodable"
