"""Make seeds of formats that Pillow does not write as needed: PSD, ICNS, HEIC, floats, JPEG XL, a camera's RAW."""

import base64
import importlib.util
import io
import struct

import cv2
import numpy as np
from PIL import Image

from benchmarks.fuzz.raw import LARGE, dng

HAS_HEIC = importlib.util.find_spec("pi_heif") is not None
HAS_JXL = importlib.util.find_spec("imagecodecs") is not None
HAS_RAW = importlib.util.find_spec("rawpy") is not None
# 64 x 48 pixels of our own, half red and half blue: pillow_heif.from_bytes(...).save(quality=60) of pillow-heif 1.8.1,
# which nothing here depends on. The lower half of the second is transparent.
_HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9j"
    "AAAAAERAAAEAAQAAAAABoQABAAAAAAAAAHgAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/Wlw"
    "cnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AA"
    "AAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAA"
    "QAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWB"
    "AgMFhAAAAIBtZGF0AAAAdCgBrwngOSMkv//5BH//+MRuQ/YtCcF//ayd9/dcf//uxt1EY1iyx/nbNH9W1ylirEY5jqmgIkm99+/He1kMO6Ew"
    "QgWtcnfDhd12+lhb8EpyJ+LEt5iNcdMhatiRMxS1Gl0aVkgpX0ptQAZPo1g5qiT7osl/",
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAmttZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9j"
    "AAAAAERAAAIAAQAAAAACjwABAAAAAAAAAHgAAgAAAAADBwABAAAAAAAAABwAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAA"
    "ABVpbmZlAgAAAAACAABodmMxAAAAAA5waXRtAAAAAAABAAABqmlwcnAAAAGCaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNg"
    "AAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZE"
    "AcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AA"
    "AAACAAAAEHBpeGkAAAAAAwgICAAAAHBodmNDAQQIAAAAn/gAAAAAHvAA/Pz4+AAADwNgAAEAF0ABDAH//wQIAAADAJ/4AAADAAAeugJAYQAB"
    "ACVCAQEECAAAAwCf+AAAAwAAHsCCBBZbq5Ka5sCAAAAMgAAAAwCEYgABAAZEAcFzwIkAAAAOcGl4aQAAAAABCAAAACdhdXhDAAAAAHVybjpt"
    "cGVnOmhldmM6MjAxNTphdXhpZDoxAAAAACBpcG1hAAAAAAAAAAIAAQWBAgMFhAACBYYDB4iEAAAAGmlyZWYAAAAAAAAADmF1eGwAAgABAAEA"
    "AACcbWRhdAAAAHQoAa8J4DkjJL//+QR///jEbkP2LQnBf/2snff3XH//7sbdRGNYssf52zR/VtcpYqxGOY6poCJJvffvx3tZDDuhMEIFrXJ3"
    "w4XddvpYW/BKcifixLeYjXHTIWrYkTMUtRpdGlZIKV9KbUAGT6NYOaok+6LJfwAAABgoAa4TwDvNa/7lxZP6F3/8GV0wNFCsxFw=",
)


def heic() -> list[bytes]:
    """HEIC images without and with transparency."""
    return [base64.b64decode(text) for text in _HEIC]


def psd(image: Image.Image) -> list[bytes]:
    """Photoshop documents without layers of an RGBA image: colours, the same in runs, grey, and with a palette."""
    colours = np.asarray(image.convert("RGB"))
    planes = [np.ascontiguousarray(colours[..., number]) for number in range(3)]
    grey = [np.asarray(image.convert("L"))]
    palette = bytes(range(256)) * 3
    return [_psd(planes, 3), _psd(planes, 3, runs=True), _psd(grey, 1), _psd(grey, 2, palette=palette)]


def _psd(planes: list[np.ndarray], mode: int, *, runs: bool = False, palette: bytes = b"") -> bytes:
    height, width = planes[0].shape
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, len(planes), height, width, 8, mode)
    head += struct.pack(">I", len(palette)) + palette + bytes(8)  # Neither resources nor layers.
    rows = [row.tobytes() for plane in planes for row in plane]
    if not runs:
        return head + b"\0\0" + b"".join(rows)
    rows = [b"".join(bytes([0, value]) for value in row) for row in rows]  # Runs of one byte each.
    return head + b"\0\1" + struct.pack(f">{len(rows)}H", *map(len, rows)) + b"".join(rows)


def icns(image: Image.Image) -> list[bytes]:
    """Icons of PNGs of an image: one, and three of which the second is the largest."""
    small, middle, large = (_png(image.resize((side, side))) for side in (16, 32, 64))
    return [_icns((b"icp5", middle)), _icns((b"icp4", small), (b"icp6", large), (b"icp5", middle))]


def floats(image: Image.Image) -> list[bytes]:
    """TIFFs of floats from 0 to 1 of an RGBA image: grey, and colours of 32 and 64 bits."""
    samples = np.asarray(image.convert("RGB"), np.float32) / 255
    return [
        cv2.imencode(".tiff", pixels)[1].tobytes() for pixels in (samples[..., 0], samples, samples.astype(np.float64))
    ]


def pfm(image: Image.Image) -> list[bytes]:
    """Portable float maps of an RGBA image: grey with the larger byte first, and colours with the smaller."""
    samples = np.asarray(image, np.float32) / 255
    head = f"{image.width} {image.height}".encode()
    return [
        b"Pf\n" + head + b"\n1.0\n" + samples[..., 0].astype(">f4").tobytes(),
        b"PF\n" + head + b"\n-1.0\n" + samples[..., :3].astype("<f4").tobytes(),
    ]


def jpeg_xl(image: Image.Image) -> list[bytes]:
    """JPEG XL of an RGBA image: lossless with transparency, colours at a loss, grey of 16 bits."""
    from imagecodecs import jpegxl_encode

    samples = np.asarray(image)
    grey = samples[..., 0].astype(np.uint16) * 257
    lossless = [jpegxl_encode(samples, lossless=True), jpegxl_encode(grey, lossless=True)]
    return [*map(bytes, lossless), bytes(jpegxl_encode(samples[..., :3], distance=1.0))]


def raw(image: Image.Image) -> list[bytes]:
    """DNGs whose samples are developed, and whose preview is shown."""
    preview = io.BytesIO()
    image.convert("RGB").resize(LARGE).save(preview, "JPEG", quality=30)
    return [dng(size=(64, 48)), dng(preview.getvalue(), size=(64, 48))]


def _icns(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack(">I", 8 + len(data)) + data for name, data in parts)
    return b"icns" + struct.pack(">I", 8 + len(body)) + body


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
