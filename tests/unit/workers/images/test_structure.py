"""What an image file claims is compared with the file before any library believes it."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import ImageError
from tests.support.images.strange import encoded, jpeg_of_another_size, png_chunk
from workers.images.decode import decode
from workers.images.formats.png_still import still
from workers.images.structure.check import require_structure

MOST = 178_956_970
SIDE = 8


def gif(screen: tuple[int, int], frame: tuple[int, int, int, int]) -> bytes:
    """A GIF whose one frame has a colour table of two and hardly any data."""
    begins = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6)
    control = b"!\xf9\x04" + bytes([2 << 2, 0, 0, 0]) + b"\0"
    return begins + control + b"," + struct.pack("<HHHHB", *frame, 0) + b"\x02\x02\x4c\x01\x00;"


def png(colour: int = 2, *more: bytes, side: int = SIDE, length: int | None = None) -> bytes:
    """A PNG with `more` chunks behind its pixels; `length` is what the chunk of these claims."""
    samples = {0: 1, 2: 3, 6: 4}[colour]
    scanlines = (b"\0" + bytes(samples * SIDE)) * SIDE
    data = png_chunk(b"IDAT", zlib.compress(scanlines))
    if length is not None:
        data = struct.pack(">I", length) + data[4:]
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + data + b"".join(more) + png_chunk(b"IEND", b"")


def webp(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in parts)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def code_stream(width: int, height: int, across: int, down: int, components: int = 1) -> bytes:
    """A JPEG 2000 of tiles of `across` x `down` that has a header and nothing else."""
    sizes = struct.pack(">H8IH", 0, width, height, 0, 0, across, down, 0, 0, components) + bytes(3 * components)
    return b"\xff\x4f\xff\x51" + struct.pack(">H", min(2 + len(sizes), 65535)) + sizes + b"\xff\xd9"


def tiff(*tags: tuple[int, int, int, int]) -> bytes:
    """A TIFF of these tags: number, type, count and value."""
    fields = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(99)


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data


def avif(properties: bytes, places: bytes | None = None) -> bytes:
    inner = box(b"iprp", box(b"ipco", properties)) + (b"" if places is None else box(b"iloc", places))
    return box(b"ftyp", b"avif\0\0\0\0avif") + box(b"meta", bytes(4) + inner) + box(b"mdat", b"")


ANIMATED = png_chunk(b"acTL", struct.pack(">II", 2, 0)), png_chunk(b"fcTL", bytes(26))
BOMBS = {
    "a screen of a GIF": (gif((65535, 65535), (0, 0, 65535, 65535)), "oversized"),
    "a frame of a GIF": (gif((1, 1), (0, 0, 65535, 65535)), "oversized"),
    "a frame far from the corner": (gif((1, 1), (65535, 65535, 1, 1)), "oversized"),
    "a length of a PNG": (png(length=0xFFFFFFFF), "truncated"),
    "a length of a PNG with alpha": (png(6, length=0xFFFFFFFF), "truncated"),
    "a length that is just too long": (png(length=200), "truncated"),
    "more pixels than a PNG holds": (png(side=13_000), "truncated"),
    "no number in a frame of a PNG": (png(2, *ANIMATED, png_chunk(b"fdAT", b"")), "undecodable"),
    "half a number in a frame": (png(6, *ANIMATED, png_chunk(b"fdAT", b"\0\0\0")), "undecodable"),
    "half a control": (png(2, ANIMATED[0], png_chunk(b"fcTL", bytes(25))), "undecodable"),
    "a frame behind what begins no block": (
        gif((1, 1), (0, 0, 65535, 65535)).replace(b"!\xf9", b"\0\1!\xf9"),
        "oversized",
    ),
    "more pixels than a GIF holds": (gif((13_000, 13_000), (0, 0, 13_000, 13_000)), "truncated"),
    "more pixels than a JPEG holds": (
        jpeg_of_another_size(encoded(Image.new("RGB", (8, 8)), "JPEG"), 13_000, 13_000),
        "truncated",
    ),
    "the canvas of a WebP": (webp((b"VP8X", struct.pack("<IHBHB", 0, 65535, 255, 65535, 255))), "oversized"),
    "the frame of a WebP": (webp((b"ANMF", bytes(6) + b"\xff" * 6 + bytes(4))), "oversized"),
    "a JPEG 2000 of many tiles": (code_stream(250, 250, 1, 1), "truncated"),
    "a JPEG 2000 of no tiles": (code_stream(8, 8, 0, 0), "undecodable"),
    "a JPEG 2000 of many components": (code_stream(8, 8, 8, 8, 16_384), "undecodable"),
    "a JPEG 2000 larger than allowed": (code_stream(2**32 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1), "oversized"),
    "rows of a BMP": (
        b"BM" + struct.pack("<IIIIiiHHI", 0, 0, 54, 40, 13_000, -13_000, 1, 24, 0) + bytes(99),
        "truncated",
    ),
    "runs of a BMP": (
        b"BM" + struct.pack("<IIIIiiHHI", 0, 0, 54, 40, 13_000, 13_000, 1, 8, 1) + bytes(1024),
        "truncated",
    ),
    "rows of a PPM": (b"P6 13000 13000 65535\n" + bytes(99), "truncated"),
    "numbers of a PPM": (b"P3 13000 13000 255\n" + b"1 " * 99, "truncated"),
    "a comment without an end": (b"P6 #" + b"a" * 99, "truncated"),
    "the directory of a TIFF": (b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(99), "truncated"),
    "values of a TIFF": (tiff((256, 3, 1, 8), (257, 3, 1, 8), (273, 4, 2**31, 8)), "truncated"),
    "a strip of a TIFF": (tiff((256, 3, 1, 8), (257, 3, 1, 8), (273, 4, 1, 8), (279, 4, 1, 2**31)), "truncated"),
    "tiles of a TIFF": (tiff((256, 3, 1, 8), (257, 3, 1, 8), (322, 4, 1, 2**31), (323, 4, 1, 2**31)), "undecodable"),
    "samples of a TIFF": (tiff((256, 3, 1, 8), (257, 3, 1, 8), (277, 3, 1, 65535)), "undecodable"),
    "a TIFF of LZW": (
        tiff((256, 3, 1, 13_000), (257, 3, 1, 13_000), (258, 3, 1, 8), (259, 3, 1, 5), (273, 4, 1, 8), (279, 4, 1, 99)),
        "truncated",
    ),
    "the size of an AVIF": (avif(box(b"ispe", struct.pack(">III", 0, 65535, 65535))), "oversized"),
    "a place in an AVIF": (avif(b"", struct.pack(">HBBHHHHII", 0, 0, 0, 0, 0, 0, 0, 0, 0)), "undecodable"),
    "a piece of an AVIF": (
        avif(b"", struct.pack(">IBBHHHHII", 0, 0x44, 0, 1, 1, 0, 1, 8, 2**31)),
        "truncated",
    ),
    "a box of an AVIF": (avif(b"")[:-8] + struct.pack(">I", 2**31) + b"mdat", "truncated"),
    "half an animation": (png(2, png_chunk(b"acTL", bytes(4))), "undecodable"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_claim_that_the_file_can_not_keep_is_refused(name: str) -> None:
    data, status = BOMBS[name]
    for how in ("reduced", "strict", "reduced-opaque"):
        with pytest.raises(ImageError) as refused:
            decode(data, SIDE, MOST, how)
        assert refused.value.status == status


CHILD = """
import resource, sys
from pathlib import Path
from shared.errors import ImageError
from workers.images.decode import decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        decode(path.read_bytes(), 8, 178_956_970)
    except ImageError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_no_claim_takes_memory(tmp_path: Path) -> None:
    for number, (data, _) in enumerate(BOMBS.values()):
        (tmp_path / str(number)).write_bytes(data)
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 64 << 20


@pytest.mark.parametrize("colour", [0, 2, 6])
def test_an_animation_whose_parts_are_whole_is_decoded(colour: int) -> None:
    animated = png(colour, *ANIMATED, png_chunk(b"fdAT", b"\0\0\0\1" + zlib.compress(bytes(8))))
    assert decode(animated, SIDE, MOST).pixels.shape == (SIDE, SIDE, 3)


def outcome(data: bytes) -> tuple[str, object]:
    """How decoding ends, and the pixels."""
    try:
        return "ok", decode(data, SIDE, MOST).pixels.tolist()
    except ImageError as error:
        return error.status, None


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("colour", ["noise", "black"])
def test_what_is_cut_is_truncated_or_as_the_whole(kind: str, colour: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)) * (colour == "noise")
    data = encoded(Image.fromarray(noise.astype(np.uint8)), kind)
    whole = decode(data, SIDE, MOST).pixels
    assert decode(data + b"\0" * 100 + b"behind the end", SIDE, MOST).pixels.tolist() == whole.tolist()
    for size in [*range(30, len(data), max(1, len(data) // 40)), *range(max(30, len(data) - 16), len(data))]:
        status, pixels = outcome(data[:size])
        if status == "ok":
            assert size >= len(data) - 2  # A GIF may lack what ends it.
            assert pixels == whole.tolist()
        else:
            assert status == "truncated", size


def test_a_part_of_a_webp_that_ends_behind_it_is_missing() -> None:
    data = encoded(Image.new("RGB", (60, 80), "red"), "WEBP", quality=80)
    at = data.index(b"VP8 ") + 4
    claims = data[:at] + struct.pack("<I", len(data)) + data[at + 4 :]
    with pytest.raises(ImageError, match="are left") as refused:
        require_structure(claims, MOST)
    assert refused.value.status == "truncated"


def test_large_images_of_one_colour_are_no_bombs() -> None:
    for kind in ("PNG", "GIF", "WEBP"):
        image = encoded(
            Image.new("RGB", (4_000, 4_000), "white"), kind, **({"optimize": True} if kind == "PNG" else {})
        )
        assert decode(image, SIDE, MOST).pixels.min() == 255
    one_bit = encoded(Image.new("1", (10_000, 10_000), 1), "PNG", compress_level=9)
    assert decode(one_bit, SIDE, MOST).pixels.min() == 255


def animated(mode: str, **options: object) -> tuple[bytes, list[Image.Image]]:
    rng = np.random.default_rng(2)
    frames = [Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).convert(mode) for _ in range(3)]
    return encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], **options), frames


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
@pytest.mark.parametrize("how", ["reduced", "strict", "reduced-opaque"])
def test_an_animated_png_gives_its_first_frame(mode: str, how: str) -> None:
    data, frames = animated(mode)
    plain = encoded(frames[0], "PNG")
    assert decode(data, SIDE, MOST, how).pixels.tolist() == decode(plain, SIDE, MOST, how).pixels.tolist()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_png_whose_animation_leaves_out_its_picture_shows_that(mode: str) -> None:
    data, frames = animated(mode, default_image=True)
    assert decode(data, SIDE, MOST).pixels.tolist() == decode(encoded(frames[0], "PNG"), SIDE, MOST).pixels.tolist()


@pytest.mark.parametrize("kind", [b"IHDR", b"acTL", b"fcTL", b"fdAT"])
def test_a_part_in_the_midst_of_an_animation_is_harmless(kind: bytes) -> None:
    """OpenCV ends the process over some of these, so a child decodes them."""
    data, _ = animated("RGB", default_image=True)
    body = {b"IHDR": struct.pack(">IIBBBBB", 4000, 4000, 16, 6, 0, 0, 0), b"acTL": struct.pack(">II", 9, 0)}
    more = png_chunk(kind, body.get(kind, struct.pack(">7I", 0, *[4000] * 6)[:26]))
    places = [at - 4 for at in range(len(data)) if data[at : at + 4] in (b"fcTL", b"fdAT", b"IEND")]
    program = (
        "import sys\nfrom shared.errors import ImageError\nfrom workers.images.decode import decode\n"
        "for line in sys.stdin:\n"
        "    try: decode(bytes.fromhex(line), 8, 10**6)\n"
        "    except ImageError: pass\n"
        "print('whole')\n"
    )
    files = "\n".join((data[:at] + more + data[at:]).hex() for at in places)
    done = subprocess.run([sys.executable, "-c", program], input=files, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "whole\n")


def test_a_png_that_does_not_move_is_not_copied() -> None:
    data = png()
    assert still(data) is data
