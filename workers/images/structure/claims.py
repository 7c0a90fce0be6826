"""Refuse image files whose claims do not fit their size and the limits."""

from shared.errors import ImageError

# Deflate gives at most so many bytes for one. The LZW of GIF and TIFF gives 3,838 for each 12 bits at the very best.
DEFLATE_RATIO = 1_032
LZW_RATIO = 2_560


def require_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError, status oversized, for a picture or a part of one of more than `max_pixels`."""
    if width * height > max_pixels:
        raise ImageError(
            f"The image has {width * height:,} pixels ({width} x {height}); at most {max_pixels:,} are decoded.",
            "oversized",
        )


def cut_short(data: bytes, why: str) -> ImageError:
    """The error, status truncated, for a file whose end is missing. `why` says how that is known."""
    return ImageError(f"The file is cut short after {len(data):,} bytes: {why}.", "truncated")


def require_data(data: bytes, found: int, least: int, width: int, height: int) -> None:
    """Raise ImageError, status truncated, if `found` bytes of pixels are fewer than the `least` that the picture
    needs.
    """
    if found < least:
        raise cut_short(data, f"{width} x {height} pixels need {least:,} bytes or more, and it has {found:,}")


def is_zero(data: bytes, start: int) -> bool:
    """Whether only zeros follow, as in a file whose length was set before its download stopped."""
    return data.count(0, start) == len(data) - start
