"""Read what an image file claims in its header, and check whether to believe it, before anything is decoded."""

import io
import warnings
from contextlib import suppress

from PIL import Image, UnidentifiedImageError

from shared.errors import ImageError
from workers.images.formats.floats import float_tiff_size, is_pfm, pfm_size
from workers.images.formats.pillow_decode import exif_orientation, without_texts
from workers.images.structure.jxl import is_jxl, jxl_header
from workers.images.structure.more import is_pcx, is_tga
from workers.images.structure.raster import TIFFS, unusual_numbers

# Pillow reads headers here, never pixels, so `max_pixels` takes the place of its guard against decompression bombs.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")

Image.init()
# Pillow reads HEIC by a plugin, which an older install may lack. The worker's threads share the cores.
with suppress(ImportError):
    import pi_heif

    pi_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
# The kinds that are decoded here and that Pillow recognises, without those that this build of Pillow lacks.
FORMATS = tuple(
    name
    for name in (
        "JPEG",
        "PNG",
        "WEBP",
        "GIF",
        "BMP",
        "TIFF",
        "JPEG2000",
        "PPM",
        "AVIF",
        "HEIF",
        "PSD",
        "QOI",
        "DDS",
        "ICO",
        "ICNS",
    )
    if name in Image.OPEN
)
# Kinds that Pillow would also see in other files are recognised by their structure first.
_TOLD = {"PCX": is_pcx, "TGA": is_tga}
_OURS = ("PFM", "JPEG XL")  # Kinds that Pillow is not asked about.
JPEGS = ("JPEG", "MPO")  # Pillow calls a JPEG with further pictures behind it an MPO.
# Formats that people keep photographs in, and that no build of OpenCV decodes, or not every one.
_NOT_DECODED = (
    (4, b"ftypavi", "an AVIF image"),
    (8, b"WEBP", "a WebP image"),
    (4, b"jP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (4, b"ftypmif1", "a HEIF image"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (0, b"P7\n", "a PAM image"),
)
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_EXIF_ORIENTATION = 0x0112
# An encoder writes ten scans or so. Each takes a pass over all pixels, and only a few bytes of the file.
_MAX_SCANS = 100
# Deflated pixels are hardly ever larger than plain ones; data after them may inflate a thousandfold for nothing.
_PNG_SLACK = 65_536


def read_header(data: bytes) -> tuple[int, int, str, int | None]:
    """Width, height and format from the header alone, and the orientation if OpenCV does not apply it."""
    if is_pfm(data):
        return *pfm_size(data), "PFM", None
    if is_jxl(data):
        header = jxl_header(data)
        return header.width, header.height, "JPEG XL", None
    if (size := float_tiff_size(data)) is not None:
        return *size, "TIFF", None
    try:
        told = tuple(name for name, is_one in _TOLD.items() if is_one(data))
        with Image.open(io.BytesIO(data), formats=told or FORMATS) as image:
            # An AVIF is turned by its container, which Pillow gives as the EXIF orientation and OpenCV leaves alone.
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1) if image.format == "AVIF" else None
            # OpenCV overlooks an orientation whose block begins with the name of EXIF, as libvips and others write it.
            if image.format in ("PNG", "WEBP") and "exif" in image.info:
                orientation = exif_orientation(image.info["exif"])
            return image.width, image.height, image.format or "image", orientation
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except Exception as error:  # Pillow's readers let much escape on a damaged header: ValueError, struct.error, ...
        if data.startswith(b"\x89PNG") and len(plain := without_texts(data)) < len(data):
            return read_header(plain)
        raise ImageError(f"The header of the image is damaged: {error}.") from error


def own_orientation(jpeg: bytes) -> int:
    """The orientation, 1 to 8, in a JPEG; 1 without any."""
    with suppress(Exception), Image.open(io.BytesIO(jpeg), formats=("JPEG", "MPO")) as image:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
        return value if value in range(1, 9) else 1
    return 1  # The decoder says what is wrong with it.


def _unidentified(data: bytes) -> ImageError:
    known = ", ".join((*FORMATS, *_TOLD, *_OURS))
    found = next((what for at, magic, what in _NOT_DECODED if data.startswith(magic, at)), None)
    if data[4:8] == b"ftyp" and any(brand in data[8:48] for brand in _HEIC_BRANDS):
        found = "a HEIC image"
        if "HEIF" not in FORMATS:
            return ImageError(
                "The file is a HEIC image, for which pi-heif is needed and not installed: pip install "
                "'lookalike[worker]', or convert it to JPEG."
            )
    if data.startswith(TIFFS) and (numbers := unusual_numbers(data)):
        return ImageError(
            f"The TIFF holds {numbers}, which is unusual: they have no defined black and white. Convert it to 8 or 16 "
            "bits."
        )
    begins = next((name for name in FORMATS if _begins_as(name, data[:16])), None)
    if begins is not None:
        return ImageError(f"The file begins like {begins}, but its header is damaged or unusual.")
    if found is not None:
        return ImageError(f"The file is {found}, which is not decoded here ({known}): convert it to one of these.")
    return ImageError(f"The file begins like none of the formats decoded here ({known}).", "not-an-image")


def _begins_as(name: str, beginning: bytes) -> bool:
    if name in ("BMP", "PPM"):  # These kinds begin with one or two letters, as any text may.
        return False
    with suppress(IndexError, SyntaxError, TypeError):
        accept = Image.OPEN[name][1]
        return accept is not None and accept(beginning) is True
    return False


def require_honest(data: bytes, kind: str, width: int, height: int) -> None:
    """Raise ImageError for a file that takes far longer to decode than its header promises, or that OpenCV misreads."""
    if kind in JPEGS:
        scan = _first_scan(data)
        scans = data.count(b"\xff\xda", scan, data.find(b"\xff\xd9", scan))
        if scans > _MAX_SCANS:
            raise ImageError(f"The JPEG has {scans:,} scans, each a pass over it; at most {_MAX_SCANS} are decoded.")
    if kind == "PNG":
        bits, colour = data[(at := data.find(b"IHDR") + 12) : at + 2]
        plain = height * (1 + -(-width * {2: 3, 4: 2, 6: 4}.get(colour, 1) * bits // 8))
        most = 2 * plain + _PNG_SLACK
        deflated = _png_data(data) if len(data) > most else 0
        if deflated > most:
            raise ImageError(
                f"The PNG holds {deflated:,} bytes of deflated data for {width} x {height} pixels, which need no more "
                f"than {plain:,}: it is damaged, or made to waste time."
            )


def _png_data(data: bytes) -> int:
    """Bytes of deflated pixels in a PNG."""
    at, found = 8, 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found += length if data[at + 4 : at + 8] == b"IDAT" else 0
        at += 12 + length
    return found


def is_cut_short(data: bytes) -> bool:
    """Whether the end of a JPEG, PNG or WebP is missing, as a download that stopped midway leaves it.

    OpenCV refuses most of these by itself, but not a JPEG whose tail the downloader has filled with zeros.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND\xaeB`\x82" not in data
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if not data.startswith(b"\xff\xd8\xff"):
        return False
    return data.find(b"\xff\xd9", _first_scan(data)) < 0


def _first_scan(data: bytes) -> int:
    """The place where the pixels of a JPEG begin: a thumbnail in an earlier segment has its own scans and end
    marker.
    """
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        fill = data[at + 1 : at + 2] == b"\xff"
        at += 1 if fill else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at
