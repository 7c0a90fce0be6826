"""Transparent parts show white in every format; an older job drops alpha, as it began."""

import struct
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from shared.errors import ImageError
from shared.models import resolve_model
from shared.models.preprocessing import (
    DECODES,
    OPAQUE_PREPROCESSING,
    REDUCED_OPAQUE,
    STRICT_OPAQUE,
    STRICT_OPAQUE_PREPROCESSING,
)
from tests.support.images.strange import encoded, png, png_16_bit, png_chunk
from workers.images.decode import decode, decode_photo
from workers.images.formats.transparency import may_be_transparent, on_white
from workers.images.header import FORMATS

SIZE = 32
ROOMY = 10**8
WHITE, INK = (255, 255, 255), (10, 20, 200)


def badge(width: int = 64, height: int = 48) -> Image.Image:
    """The left half transparent over black, the right half opaque ink, and its lowest quarter half transparent."""
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height), (*INK, 255))
    draw.rectangle((width // 2, height * 3 // 4, width, height), (*INK, 128))
    return image


def expected(image: Image.Image) -> NDArray[np.float64]:
    """RGB as seen on white, in floats."""
    rgba = np.asarray(image).astype(float)
    alpha = rgba[..., 3:] / 255
    return np.asarray(rgba[..., :3] * alpha + 255 * (1 - alpha))


def seen(data: bytes, how: str = "reduced") -> NDArray[np.uint8]:
    """All pixels of a file that has SIZE of them on each side or less, as `decode_photo` gives them."""
    return decode_photo(data, 1000, ROOMY, how)


def tiff_of_alpha(pixels: NDArray[np.uint8], extra: int, bits: int = 8) -> bytes:
    """An RGBA TIFF whose alpha is associated (1) or not (2), as the tag ExtraSamples says."""
    height, width = pixels.shape[:2]
    samples = pixels.astype(float)
    if extra == 1:
        samples[..., :3] *= samples[..., 3:] / 255
    whole = samples.round().astype(np.uint16)
    data = (whole * 257).astype("<u2").tobytes() if bits == 16 else whole.astype(np.uint8).tobytes()
    start = 8 + len(data)
    tags = {256: width, 257: height, 259: 1, 262: 2, 273: 8, 277: 4, 278: height, 279: len(data), 338: extra}
    fields = {tag: struct.pack("<HHII", tag, 4 if tag != 338 else 3, 1, value) for tag, value in tags.items()}
    fields[258] = struct.pack("<HHII", 258, 3, 4, start + 2 + 12 * 10 + 4)
    directory = b"".join(fields[tag] for tag in sorted(fields))
    head = b"II*\0" + struct.pack("<I", start)
    return head + data + struct.pack("<H", len(fields)) + directory + bytes(4) + struct.pack("<4H", *[bits] * 4)


def transparent_files() -> dict[str, tuple[bytes, int]]:
    """Each form of `badge` with how far its pixels may be off; those that have no half transparency leave it out."""
    image = badge()
    found = {
        "png rgba": (encoded(image, "PNG"), 0),
        "png rgba 16 bit": (png_16_bit(np.asarray(image)), 1),
        "png palette": (encoded(image.quantize(method=Image.Quantize.FASTOCTREE), "PNG"), 3),
        "apng": (encoded(image, "PNG", save_all=True, append_images=[Image.new("RGBA", image.size, "red")]), 0),
        "webp lossless": (encoded(image, "WEBP", lossless=True), 0),
        "webp": (encoded(image, "WEBP", quality=95), 12),
        "webp animation": (
            encoded(image, "WEBP", save_all=True, append_images=[badge().rotate(90)], lossless=True),
            0,
        ),
        "tiff": (encoded(image, "TIFF"), 0),
        "tiff lzw": (encoded(image, "TIFF", compression="tiff_lzw"), 0),
        "tiff associated": (tiff_of_alpha(np.asarray(image), 1), 1),
        "tiff unassociated": (tiff_of_alpha(np.asarray(image), 2), 0),
        "tiff associated 16 bit": (tiff_of_alpha(np.asarray(image), 1, 16), 2),
        "tiff unassociated 16 bit": (tiff_of_alpha(np.asarray(image), 2, 16), 1),
        "jpeg 2000": (encoded(image, "JPEG2000"), 1),
        "jpeg 2000 code stream": (encoded(image, "JPEG2000", no_jp2=True), 1),
    }
    if "AVIF" in FORMATS:
        found["avif"] = (encoded(image, "AVIF", quality=100, subsampling="4:4:4"), 8)
    return found


FILES = transparent_files()


@pytest.mark.parametrize("how", DECODES)
@pytest.mark.parametrize("form", FILES)
def test_what_is_transparent_shows_white_in_every_format(form: str, how: str) -> None:
    data, off = FILES[form]
    truth = expected(badge())
    found = seen(data, how).astype(float)
    away = np.abs(found - truth)
    away[:, 28:36] = 0  # Where the halves meet, a lossy format may smear.
    away[32:40] = 0
    assert away.max() <= off + 1
    square = decode(data, SIZE, ROOMY, how).pixels.astype(int)
    np.testing.assert_allclose(square[4:20, 2:12], np.full((16, 10, 3), 255), atol=off + 1)
    np.testing.assert_allclose(square[4:20, 20:30], np.broadcast_to(INK, (16, 10, 3)), atol=off + 1)


@pytest.mark.parametrize("form", ["L", "RGB"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_colour_of_a_png_is_compared_in_all_its_bits(form: str, bits: int) -> None:
    if form == "RGB" and bits < 8:
        pytest.skip("a PNG of colours has 8 or 16 bits a sample")
    # A colour, and another that differs from it in the lowest bit alone.
    most = 2**bits - 1
    key, other = most - 1 if bits > 1 else 0, most
    row = [key] * 8 + [other] * 8
    samples = [value for value in row for _ in range(3 if form == "RGB" else 1)]
    if bits == 16:
        line = struct.pack(f">{len(samples)}H", *samples)
    else:
        text = "".join(format(value, f"0{bits}b") for value in samples)
        line = int(text, 2).to_bytes(len(text) // 8, "big")
    colour = struct.pack(">H", key) * (3 if form == "RGB" else 1)
    dark = png(16, 1, b"\0" + line, bits=bits, colour=2 if form == "RGB" else 0)
    keyed = png(16, 1, b"\0" + line, bits=bits, colour=2 if form == "RGB" else 0, before=png_chunk(b"tRNS", colour))
    plain = seen(dark)
    found = seen(keyed)
    assert (found[0, :8] == 255).all()
    np.testing.assert_array_equal(found[0, 8:], plain[0, 8:])


def test_only_the_key_of_a_png_is_transparent_and_not_its_neighbour() -> None:
    line = struct.pack(">8H", *[0x0A0A] * 4, *[0x0A0B] * 4)
    found = seen(png(8, 1, b"\0" + line, bits=16, colour=0, before=png_chunk(b"tRNS", struct.pack(">H", 0x0A0A))))
    assert found[0, :, 0].tolist() == [255] * 4 + [10] * 4


def gif_with_a_small_frame(transparent: bool) -> bytes:
    """A GIF of 8 x 8 whose only frame is the 4 x 4 in its middle, all of palette colour 0, which is black."""
    frame = Image.new("P", (4, 4), 0)
    frame.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    whole = encoded(frame, "GIF", **({"transparency": 1} if transparent else {}))
    at = whole.index(b",", 13)
    return whole[:6] + struct.pack("<HH", 8, 8) + whole[10 : at + 1] + struct.pack("<HH", 2, 2) + whole[at + 5 :]


@pytest.mark.parametrize("transparent", [True, False])
def test_a_gif_is_white_where_its_frame_does_not_reach(transparent: bool) -> None:
    found = seen(gif_with_a_small_frame(transparent))
    assert found.shape == (8, 8, 3)
    assert (found[2:6, 2:6] == 0).all()
    around = found.copy()
    around[2:6, 2:6] = 255
    assert (around == 255).all()


def test_the_transparent_index_of_a_gif_shows_white() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, *INK] + [0] * 762)
    image.paste(1, (4, 0, 8, 8))
    found = seen(encoded(image, "GIF", transparency=0))
    assert (found[:, :4] == 255).all()
    assert (found[:, 4:] == INK).all()


def test_different_logos_in_black_look_different() -> None:
    drawn = []
    for shape in ("ellipse", "rectangle"):
        image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
        getattr(ImageDraw.Draw(image), shape)((40, 40, 160, 160), (0, 0, 0, 255))
        drawn.append(decode(encoded(image, "PNG"), SIZE, ROOMY).pixels)
    assert (drawn[0][0, 0] == 255).all()
    assert (drawn[0][16, 16] == 0).all()
    assert not np.array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_what_is_transparent_is_turned_upright_once(kind: str) -> None:
    if kind not in FORMATS:
        pytest.skip(f"this build of Pillow has no {kind}")
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "AVIF" else {}
        found = seen(encoded(badge().transpose(turn), kind, exif=exif, **options))
        assert found.shape == (48, 64, 3)
        np.testing.assert_allclose(found[8, [8, 56]].astype(int), [WHITE, INK], atol=8, err_msg=str(orientation))


def test_opaque_pixels_stay_as_they_are_and_half_is_half() -> None:
    rng = np.random.default_rng(3)
    rgba = rng.integers(0, 256, (1100, 1000, 4), dtype=np.uint8)  # More than one band.
    truth = expected(Image.fromarray(rgba))
    found = on_white(rgba)[..., ::-1]
    assert np.abs(found - truth).max() <= 0.5 + 1e-9
    rgba[..., 3] = 255
    np.testing.assert_array_equal(on_white(rgba)[..., ::-1], rgba[..., :3])


@pytest.mark.parametrize("how", DECODES)
def test_an_alpha_that_hides_nothing_changes_no_pixel(how: str) -> None:
    rng = np.random.default_rng(4)
    plain = Image.fromarray(rng.integers(0, 256, (90, 70, 3), dtype=np.uint8))
    solid = plain.copy()
    solid.putalpha(255)
    np.testing.assert_array_equal(
        decode(encoded(plain, "PNG"), SIZE, ROOMY, how).pixels, decode(encoded(solid, "PNG"), SIZE, ROOMY, how).pixels
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000"])
def test_a_photograph_is_decoded_in_the_new_way_as_in_the_old(kind: str) -> None:
    rng = np.random.default_rng(5)
    photo = Image.fromarray(rng.integers(0, 256, (300, 260, 3), dtype=np.uint8))
    data = encoded(photo, kind)
    assert not may_be_transparent(data, kind)
    for new, old in (("reduced", REDUCED_OPAQUE), ("strict", STRICT_OPAQUE)):
        np.testing.assert_array_equal(
            decode(data, SIZE, ROOMY, new).pixels, decode(data, SIZE, ROOMY, old).pixels, err_msg=new
        )
    np.testing.assert_array_equal(decode_photo(data, 1000, ROOMY), decode_photo(data, 1000, ROOMY, REDUCED_OPAQUE))


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("how", [REDUCED_OPAQUE, STRICT_OPAQUE])
def test_an_older_job_goes_on_as_it_began(form: str, how: str) -> None:
    data = FILES[form][0]
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    interpolation = cv2.INTER_LINEAR if how == STRICT_OPAQUE else cv2.INTER_AREA
    square = cv2.resize(bgr, (SIZE, SIZE), interpolation=interpolation)[..., ::-1]
    np.testing.assert_array_equal(decode(data, SIZE, ROOMY, how).pixels, square)


def test_the_way_of_an_older_job_is_known_by_its_manifest_and_no_new_job_has_it() -> None:
    new = resolve_model("efficientnet-lite0")
    old = replace(new, preprocessing=OPAQUE_PREPROCESSING)
    assert old.fingerprint == "efficientnet-lite0@4e4578a1d35c"  # What jobs carry.
    assert (old.decode, old.asked_decode) == (REDUCED_OPAQUE, "reduced")
    strict = replace(new, preprocessing=STRICT_OPAQUE_PREPROCESSING)
    assert (strict.decode, strict.asked_decode) == (STRICT_OPAQUE, "strict")
    assert resolve_model("efficientnet-lite0", decode=old.decode) == old
    assert new.fingerprint not in (old.fingerprint, strict.fingerprint)
    assert (new.decode, new.asked_decode) == ("reduced", "reduced")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "WEBP"])
def test_a_transparent_image_cut_short_is_a_failure(kind: str) -> None:
    noisy = np.random.default_rng(6).integers(0, 256, (80, 60, 4), dtype=np.uint8)
    data = encoded(Image.fromarray(noisy), kind)
    with pytest.raises(ImageError):
        decode(data[: len(data) // 2], SIZE, ROOMY)
