"""Answer with bytes that never change: whole, a range of them, or that the client has them (pure)."""

import re
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from coordinator.serve.problems import Refused

_RANGE: Final = re.compile(r"bytes=(\d{1,15})?-(\d{1,15})?")
# What a browser may show as an image, by the first bytes; of another kind it is a file to save.
_KINDS: Final = (
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb".{4}ftypavi[fs]", re.DOTALL), "image/avif"),
    (re.compile(rb"BM"), "image/bmp"),
)
BYTES: Final = "application/octet-stream"


def kind_of(data: bytes) -> str:
    """The media type of an image by its first bytes."""
    return next((kind for begins, kind in _KINDS if begins.match(data)), BYTES)


def has_it(headers: Mapping[str, str], tag: str) -> bool:
    """Whether a request says that the client has what `tag` names."""
    known = headers.get("if-none-match", "")
    return known.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in known.split(",")]


def unchanged(tag: str, headers: Mapping[str, str]) -> Response:
    """The answer to a client that has it."""
    return Response(status_code=304, headers={"ETag": tag} | dict(headers))


def answer(data: bytes, kind: str, tag: str, asked: Mapping[str, str], headers: Mapping[str, str]) -> Response:
    """The answer with `data`, or with the range of it that the headers `asked` for. Raises Refused with 416."""
    always = {"ETag": tag, "Accept-Ranges": "bytes"} | dict(headers)
    wanted = asked.get("range")
    if wanted is None or asked.get("if-range", tag) != tag:
        return Response(data, media_type=kind, headers=always)
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or (match[1] is None and match[2] is None):
        # Several ranges, or a unit that there is not: the whole is an answer to that too.
        return Response(data, media_type=kind, headers=always)
    if match[1] is None:
        start, stop = max(0, len(data) - int(match[2])), len(data)
    else:
        start = int(match[1])
        stop = len(data) if match[2] is None else min(len(data), int(match[2]) + 1)
    if not start < stop:
        raise Refused(416, f"The file has {len(data):,} bytes.", {"Content-Range": f"bytes */{len(data)}"})
    part = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
    return Response(data[start:stop], 206, always | part, kind)
