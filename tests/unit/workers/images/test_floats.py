"""Images of floats, PFM and TIFF: white is 1, and what is outside of 0 to 1 is refused with what was found."""

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ImageError
from shared.images.kinds import HEAD_BYTES, is_image
from shared.models.preprocessing import REDUCED, REDUCED_OPAQUE, STRICT
from workers.images.decode import decode, decode_photo
from workers.images.formats import floats

ROOMY = 10**6
WIDTH, HEIGHT = 62, 48
GREY = np.tile(np.linspace(0, 255, WIDTH), (HEIGHT, 1)).round()[..., None]
GREY[0, 0] = 200  # So that up is not down, and left not right.
COLOUR = np.dstack([GREY, GREY[:, ::-1], 255 - GREY // 2])


def pfm(
    samples: NDArray[Any], order: str = "<", scale: str | None = None, ends: tuple[str, str, str] = ("\n", "\n", "\n")
) -> bytes:
    """A PFM of samples [h, w, 1 or 3], from the bottom to the top."""
    height, width, channels = samples.shape
    first, second, third = ends
    scale = scale or ("-1.0" if order == "<" else "1.0")
    head = f"{'PF' if channels == 3 else 'Pf'}{first}{width} {height}{second}{scale}{third}"
    return head.encode() + samples[::-1].astype(f"{order}f4").tobytes()


def tiff(
    samples: NDArray[Any],
    order: str = "<",
    *,
    deflated: bool = False,
    predicted: bool = False,
    strips: int = 1,
    **more: list[int],
) -> bytes:
    """A TIFF of float samples [h, w, c] in so many strips; `more` are further tags, t317=[3] say."""
    height, width, channels = samples.shape
    parts = [_coded(part, order, predicted) for part in np.array_split(samples, strips)]
    parts = [zlib.compress(part) if deflated else part for part in parts]
    bits = 8 * samples.dtype.itemsize
    tags = {256: [width], 257: [height], 258: [bits] * channels, 259: [8 if deflated else 1]}
    tags |= {262: [2 if channels >= 3 else 1], 277: [channels], 278: [-(-height // strips)], 339: [3] * channels}
    tags |= {279: [len(part) for part in parts]} | ({317: [3]} if predicted else {})
    tags |= {int(name[1:]): values for name, values in more.items()}
    start, places = 8, []
    for part in parts:
        places.append(start)
        start += len(part)
    data = b"".join(parts)
    tags[273] = places
    start += start % 2
    beside, entries = b"", b""
    for tag, values in sorted(tags.items()):
        long = tag in (273, 279)
        body = struct.pack(f"{order}{len(values)}{'I' if long else 'H'}", *values)
        if len(body) > 4:
            place = start + 2 + 12 * len(tags) + 4 + len(beside)
            beside += body + bytes(len(body) % 2)
            body = struct.pack(f"{order}I", place)
        entries += struct.pack(f"{order}HHI", tag, 4 if long else 3, len(values)) + body.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    return (head + data).ljust(start, b"\0") + directory + beside


def _coded(samples: NDArray[Any], order: str, predicted: bool) -> bytes:
    """Samples as they are in the file; the predictor of floats puts first bytes first, and differences of all."""
    if not predicted:
        return samples.astype(samples.dtype.newbyteorder("<" if order == "<" else ">")).tobytes()
    height, width, channels = samples.shape
    size = samples.dtype.itemsize
    whole = np.frombuffer(samples.astype(samples.dtype.newbyteorder(">")).tobytes(), np.uint8)
    planes = whole.reshape(height, width * channels, size).transpose(0, 2, 1).reshape(height, -1)
    differences = planes.copy()
    differences[:, channels:] -= planes[:, :-channels]
    return differences.tobytes()


RIGHT: dict[str, tuple[bytes, NDArray[Any]]] = {}
for name, truth in (("grey", GREY), ("colour", COLOUR)):
    samples = truth / 255
    for order in "<>":
        RIGHT[f"pfm {name} {order}"] = (pfm(samples, order), truth)
        for size in ("f4", "f8"):
            RIGHT[f"tiff {name} {size} {order}"] = (tiff(samples.astype(size), order), truth)
            RIGHT[f"tiff {name} {size} {order} deflated"] = (tiff(samples.astype(size), order, deflated=True), truth)
    RIGHT[f"pfm {name} of other spaces"] = (pfm(samples, "<", "-1", (" ", " ", "\n")), truth)
    RIGHT[f"tiff {name} in strips"] = (tiff(samples.astype("f4"), strips=5), truth)
    RIGHT[f"tiff {name} predicted"] = (tiff(samples.astype("f4"), deflated=True, predicted=True), truth)
for orientation, turned in {3: np.rot90(COLOUR, 2), 6: np.rot90(COLOUR, -1), 2: COLOUR[:, ::-1]}.items():
    RIGHT[f"tiff turned {orientation}"] = (tiff((COLOUR / 255).astype("f4"), t274=[orientation]), turned)
ALPHA = np.broadcast_to(np.linspace(0, 1, HEIGHT)[:, None, None], (HEIGHT, WIDTH, 1))
ON_WHITE = COLOUR * ALPHA + 255 * (1 - ALPHA)
RIGHT["tiff of straight alpha"] = (tiff(np.dstack([COLOUR / 255, ALPHA]).astype("f4"), t338=[2]), ON_WHITE)
RIGHT["tiff of associated alpha"] = (tiff(np.dstack([COLOUR / 255 * ALPHA, ALPHA]).astype("f4"), t338=[1]), ON_WHITE)


@pytest.mark.parametrize("how", [REDUCED, STRICT])
@pytest.mark.parametrize("form", RIGHT)
def test_floats_from_0_to_1_are_black_to_white_upright(form: str, how: str) -> None:
    data, truth = RIGHT[form]
    shown = decode_photo(data, 1000, ROOMY, how)
    assert np.abs(shown - truth).max() <= 0.51  # Half a step, where alpha gives no whole number.
    image = decode(data, 8, ROOMY, how)
    assert (image.width, image.height) == (WIDTH, HEIGHT)
    assert is_image(data[:HEAD_BYTES])


def test_what_rounds_to_black_and_white_is_within_the_range() -> None:
    samples = GREY / 255 + np.where(GREY > 100, 0.0019, -0.0019)
    for data in (pfm(samples), tiff(samples.astype("f4"))):
        np.testing.assert_array_equal(decode_photo(data, 1000, ROOMY), np.repeat(GREY, 3, 2))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, 255), "holds floats from 0 to 255; expected are samples from 0, which is black, to 1, which is white"),
        ((0, 1.002), "holds floats from 0 to 1.002;"),
        ((-0.5, 0.5), "holds floats from -0.5 to 0.5;"),
        ((-1e30, 1e30), r"holds floats from -1e\+30 to 1e\+30;"),
        ((0.5, np.nan), "are no numbers or infinite: save it with samples from 0"),
        ((np.inf, 0.5), "are no numbers or infinite"),
        ((-np.inf, 0.5), "are no numbers or infinite"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("write", [pfm, tiff])
def test_floats_outside_of_0_to_1_are_refused_with_what_was_found(
    write: Any, channels: int, values: tuple[float, float], words: str
) -> None:
    samples = np.full((9, 7, channels), values[0], np.float32)
    samples[5, 3, channels - 1] = values[1]
    for how in (REDUCED, STRICT):
        with pytest.raises(ImageError, match=words) as refused:
            decode(write(samples), 8, ROOMY, how)
        assert refused.value.status == "undecodable"


def test_colours_that_shine_through_their_alpha_are_refused() -> None:
    samples = np.full((9, 7, 4), 0.5, np.float32)
    samples[2, 2] = (0.75, 0.5, 0.5, 0.25)
    with pytest.raises(ImageError, match=r"holds floats from 1 to 1\.5;"):
        decode(tiff(samples, t338=[1]), 8, ROOMY)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tiff(np.zeros((9, 7, 1), np.float16)), "holds floats of 16 bits, which is not decoded here"),
        (tiff(np.zeros((9, 7, 3), np.float16)), "holds floats of 16 bits"),
        (tiff(np.zeros((9, 7, 2), np.float32)), "holds floats of 2 samples a pixel"),
        (tiff(np.zeros((9, 7, 3), np.float32), t284=[2]), "holds floats in planes"),
        (tiff(np.zeros((9, 7, 1), np.float32), t262=[0]), "holds floats of unusual colours"),
        (tiff(np.zeros((9, 7, 3), np.float32), t262=[8]), "holds floats of unusual colours"),
        (tiff(np.zeros((9, 7, 4), np.float32)), "holds a fourth sample that it does not explain"),
        (tiff(np.zeros((9, 7, 3), np.float32), t339=[3, 1, 3]), "holds floats beside other numbers"),
        (pfm(np.zeros((9, 7, 3)), scale="-255"), "has the scale -255, which programs take for different things"),
        (pfm(np.zeros((9, 7, 3)), scale="0"), "has the scale 0"),
        (pfm(np.zeros((9, 7, 3)), scale="1.2.3"), r"its scale is 1\.2\.3, which is no number"),
        (b"PF 0 9 -1\n" + bytes(99), "has 0 x 9 pixels"),
        (b"PF 9 x -1\n" + bytes(99), "The header of the PFM is damaged"),
    ],
)
def test_unusual_floats_are_refused_by_their_name(data: bytes, words: str) -> None:
    for how in (REDUCED, STRICT):
        with pytest.raises(ImageError, match=words) as refused:
            decode(data, 8, ROOMY, how)
        assert refused.value.status == "undecodable"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kind", "meaning", "words"),
    [
        ("u1", 2, "signed numbers"),
        ("u2", 2, "signed numbers"),
        ("u4", 2, "signed numbers"),
        ("u4", 5, "complex numbers"),
        ("u8", 6, "complex numbers"),
        ("u4", 1, "(whole numbers of 32 bits|32 bits a sample)"),
        ("u8", 1, "whole numbers of 64 bits"),
    ],
)
def test_other_numbers_without_a_defined_white_are_refused_by_their_name(
    kind: str, meaning: int, words: str, channels: int
) -> None:
    data = tiff(np.zeros((9, 7, channels), kind), t339=[meaning] * channels)
    with pytest.raises(ImageError, match=f"{words}.* no defined ") as refused:
        decode(data, 8, ROOMY)
    assert refused.value.status == "undecodable"


@pytest.mark.parametrize("form", [form for form in RIGHT if "turned" not in form and "alpha" not in form])
def test_floats_that_are_cut_anywhere_are_truncated(form: str) -> None:
    data = RIGHT[form][0]
    for end in range(12, len(data), max(1, len(data) // 97)):
        with pytest.raises(ImageError) as refused:
            decode(data[:end], 8, ROOMY)
        assert refused.value.status == "truncated", end


@pytest.mark.parametrize("form", RIGHT)
def test_floats_of_too_many_pixels_are_refused_before_they_are_decoded(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("imdecode", "resize"):
        monkeypatch.setattr(cv2, name, None)
    with pytest.raises(ImageError) as refused:
        decode(RIGHT[form][0], 8, WIDTH * HEIGHT - 1)
    assert refused.value.status == "oversized"


def test_more_floats_than_memory_is_made_for_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(floats, "MOST_BYTES", WIDTH * HEIGHT * 24)
    data = tiff((COLOUR / 255).astype("f8"), deflated=True)
    assert decode_photo(data, 1000, ROOMY).shape == (HEIGHT, WIDTH, 3)
    monkeypatch.setattr(floats, "MOST_BYTES", WIDTH * HEIGHT * 24 - 1)
    with pytest.raises(ImageError, match="take 71,424 bytes; at most 71,423 are decoded") as refused:
        decode(data, 8, ROOMY)
    assert refused.value.status == "oversized"


def test_large_floats_are_shown_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floats, "BAND", 3 * WIDTH)
    for form in ("pfm colour <", "tiff colour f8 >", "tiff of straight alpha"):
        data, truth = RIGHT[form]
        assert np.abs(decode_photo(data, 1000, ROOMY) - truth).max() <= 0.51


def test_a_job_that_is_older_goes_on_with_its_grey_pfm_and_has_the_others_right() -> None:
    assert decode_photo(pfm(GREY / 255), 1000, ROOMY, REDUCED_OPAQUE).max() <= 1
    for form in ("pfm colour <", "tiff grey f4 <", "tiff colour f8 >"):
        data, truth = RIGHT[form]
        assert np.abs(decode_photo(data, 1000, ROOMY, REDUCED_OPAQUE) - truth).max() == 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", RIGHT)
def test_no_damage_of_floats_raises_anything_but_an_image_error(form: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(RIGHT[form][0])
    ends = [*range(16), *range(len(data) - 300, len(data))] if form.startswith("tiff") else list(range(40))
    for _ in range(40):
        damaged = data.copy()
        for at in rng.choice(ends, rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        try:
            decode(bytes(damaged), 8, ROOMY)
        except ImageError:
            continue
