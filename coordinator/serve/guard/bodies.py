"""Read the bodies of requests: within their bounds and their time, as JSON or as a form, and nothing else."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from coordinator.serve.declared.fields import FILE, INTEGERS, NUMBERS, TEXT, Field, of_object, of_pairs
from coordinator.serve.problems import ClientGone, Refused

FORM: Final = "multipart/form-data"
JSON: Final = "application/json"
MOST_JSON: Final = 24 << 20
"""Bytes of a JSON body: a million image ids, or a long vector."""
MOST_HELD: Final = 256 << 20
"""Bytes of bodies that are held at once: many large uploads would fill the memory, as each may wait for its answer."""
FRAME: Final = 64 << 10
"""Bytes of a form beside its files."""
_READ_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form: the name that the client gives it, and its bytes."""

    name: str
    data: bytes


class Bodies:
    """Reads bodies, some at once; each has so many seconds to come, and all that are held have `most_held` bytes."""

    def __init__(self, seconds: float, most_held: int = MOST_HELD) -> None:
        self._seconds, self._most_held, self._held = seconds, most_held, 0
        self._slots = asyncio.Semaphore(_READ_AT_ONCE)

    async def json(self, request: Request, fields: Sequence[Field]) -> dict[str, Any]:
        """The values of a JSON object. Raises Refused for a body that is none, UsageError for a value."""
        async with self._slots:
            receive = self._bounded(request, MOST_JSON)
            body = bytearray()
            async for part in _stream(request, receive):
                body += part
        _require_few(body, fields)
        try:
            given = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, _Twice) else "it can't be read"
            raise Refused(400, f"The body says that it is JSON, and {reason}.") from None
        return of_object(fields, given)

    async def form(
        self, request: Request, fields: Sequence[Field], most_bytes: int, most_files: int = 1
    ) -> tuple[dict[str, Any], list[Upload]]:
        """The values of a form, and its files, which have at most `most_bytes` together.

        A form of more is refused before it is read where its length says so, and else as soon as it is more.
        """
        file_field = next(field for field in fields if field.kind == FILE)
        texts = [field for field in fields if field.kind != FILE]
        async with self._slots:
            receive = self._bounded(request, most_bytes + FRAME)
            parser = _WholeForm(
                request.headers, _stream(request, receive), max_files=most_files, max_fields=len(texts),
                max_part_size=FRAME,
            )  # fmt: skip
            try:
                form = await parser.parse()
            except MultiPartException as error:
                raise Refused(400, f"The form can't be read: {str(error).rstrip('.')}.") from None
            except (KeyError, UnicodeDecodeError, ValueError):
                raise Refused(400, "The form can't be read: it is malformed.") from None
        try:
            pairs, uploads = [], []
            for name, value in form.multi_items():
                if isinstance(value, UploadFile) and name == file_field.name:
                    uploads.append(Upload(value.filename or "", await value.read()))
                elif isinstance(value, UploadFile) or name == file_field.name:
                    what = "a file" if isinstance(value, UploadFile) else "a text"
                    raise Refused(
                        400, f"The part {name[:80]!r} of the form is {what}; the file is {file_field.name!r}."
                    )
                else:
                    pairs.append((name, value))
        finally:
            await form.close()
        if not uploads and file_field.required:
            raise Refused(400, f"The form has no file {file_field.name!r}.")
        return of_pairs(texts, pairs), uploads

    def release(self, request: Request) -> None:
        """Count the body of a request no more, as it is answered."""
        self._held -= getattr(request.state, "held", 0)

    def _bounded(self, request: Request, most: int) -> Receive:
        """The messages of a request, until they are too many bytes or come too late."""
        given = request.headers.get("content-length", "")
        length = int(given[:20]) if given.isascii() and given.isdecimal() else 0
        if length > most:
            raise _too_large(most)
        if self._held + length > self._most_held:
            raise _too_much()
        deadline, seen = time.monotonic() + self._seconds, 0

        async def receive() -> Message:
            nonlocal seen
            try:
                message = await asyncio.wait_for(request.receive(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise Refused(
                    408, f"The body did not come within {self._seconds:g} s.", {"Connection": "close"}
                ) from None
            size = len(message.get("body", b""))
            seen += size
            self._held += size
            request.state.held = seen
            if seen > most:
                raise _too_large(most)
            if self._held > self._most_held:
                raise _too_much()
            return message

        return receive


def kind_of(request: Request, known: Sequence[str]) -> str:
    """The media type of a body; raises Refused where it is none of `known`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "The body is compressed, and is read only as it is.")
    if kind not in known:
        raise Refused(415, f"The body is {kind[:80] or 'of no type'}; expected {' or '.join(known)}.")
    return kind


async def _stream(request: Request, receive: Receive) -> Any:
    try:
        async for part in Request(request.scope, receive).stream():
            yield part
    except ClientDisconnect:
        raise ClientGone from None


def _too_much() -> Refused:
    return Refused(
        429, "So many bytes of other requests are being answered that this one has no place: try again.",
        {"Retry-After": "1", "Connection": "close"},
    )  # fmt: skip


def _too_large(most: int) -> Refused:
    return Refused(413, f"The body has more than {most:,} bytes, and no more are read here.", {"Connection": "close"})


class _WholeForm(MultiPartParser):
    """Starlette's parser, which takes what came of a form that was cut short for all of it."""

    has_ended = False

    def on_end(self) -> None:
        self.has_ended = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self.has_ended:
            await form.close()
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("it ends before its last boundary")
        return form


def _require_few(body: bytearray, fields: Sequence[Field]) -> None:
    """Raise Refused with 400 for more values than the fields can have: each takes many times its bytes, and the server
    answers nobody while they are read."""
    characters = sum(int(field.most or 0) for field in fields if field.kind == TEXT)
    items = sum(int(field.most or 0) for field in fields if field.kind in (INTEGERS, NUMBERS))
    most = len(fields) + characters  # A text may be of nothing but brackets and commas.
    if body.count(b"[") + body.count(b"{") > most + 1 or body.count(b",") > most + items:
        raise Refused(400, "The body says that it is JSON, and has more values than all fields together can have.")


class _Twice(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise _Twice("a name comes twice in one object")
    return table


def _no_constant(text: str) -> Any:
    raise ValueError(text)
