"""The files of the page, read once, and served with a strong ETag; nothing else of this machine is reached."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
# The preview of an upload is at a blob: address, which only the page itself can make.
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    # Asked again each time, and answered with 304: a new version of lookalike is seen at once.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page: its bytes, its media type, and the ETag of its bytes."""

    data: bytes
    media_type: str
    etag: str


@cache
def assets() -> Mapping[str, Asset]:
    """All files of the page by their paths below `static`, such as "views/search.js"."""
    found = {}

    def look(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                look(entry, f"{prefix}{entry.name}/")
            elif (suffix := entry.name.rpartition(".")[2]) in _TYPES:
                data = entry.read_bytes()
                etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
                found[prefix + entry.name] = Asset(data, _TYPES[suffix], etag)

    look(files(__package__) / "static", "")
    return MappingProxyType(found)


def answered(request: Request, path: str) -> Response:
    """The file of a path, or 304 where the client has it; raises HTTPException with 404 for any other path."""
    asset = assets().get(path)
    if asset is None:
        raise HTTPException(404)
    headers = _HEADERS | {"ETag": asset.etag}
    if asset.etag in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(asset.data, headers=headers, media_type=asset.media_type)


def route() -> Route:
    """The route of the files; it takes no key, since it tells nothing of any job."""

    async def file(request: Request) -> Response:
        request.state.operation = "page"
        return answered(request, request.path_params["path"])

    return Route("/page/{path:path}", file, methods=["GET"])
