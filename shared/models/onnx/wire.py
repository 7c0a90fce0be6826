"""Read a protobuf message field by field, without the bytes of fields that are not asked for, and write heads."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10
_MOST_TEXT_BYTES = 1_000_000


class WireError(Exception):
    """The bytes are no protobuf message, or end in the middle of one; says which in half a sentence."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where in the file the bytes of a message, a text or packed numbers are."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Part:
    """A field of a message: its number, its value, and where in the file it begins and ends, its head included."""

    number: int
    value: int | Span
    start: int
    end: int


class Message:
    """A message in a file. Only the heads of its fields are read, so a file of gigabytes costs a few kilobytes."""

    def __init__(self, file: BinaryIO, span: Span | None = None) -> None:
        """`file` is open for reading and can seek; without `span` all of it is one message."""
        self._file = file
        self._span = span or Span(0, file.seek(0, os.SEEK_END))

    def fields(self) -> Iterator[tuple[int, "int | Span"]]:
        """The number of each field and its value, as `parts` gives them."""
        for part in self.parts():
            yield part.number, part.value

    def parts(self) -> Iterator[Part]:
        """The fields in their order; the value is that of a varint, the place of anything else.

        Raises WireError for bytes that are no field, or a field that reaches beyond the end of its message.
        """
        at = self._span.start
        while at < self._span.end:
            start = at
            key, at = self._varint(at)
            number, kind = key >> 3, key & 7
            if number == 0 or kind not in (_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES):
                raise WireError(f"byte {at:,} begins no field of a protobuf message")
            if kind == _VARINT:
                value, at = self._varint(at)
                yield Part(number, value, start, at)
                continue
            length = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(kind)
            if length is None:
                length, at = self._varint(at)
            if length > self._span.end - at:
                raise WireError(f"{length:,} bytes are announced at byte {at:,}, and {self._span.end - at:,} are there")
            yield Part(number, Span(at, at + length), start, at + length)
            at += length

    def of(self, part: Part) -> "Message":
        """The message that a part of this one is."""
        if isinstance(part.value, int):
            raise WireError(f"a number is at byte {part.start:,} in the place of a message")
        return Message(self._file, part.value)

    def messages(self, *wanted: int) -> "Iterator[tuple[int, Message]]":
        """The fields with one of the `wanted` numbers that are messages, as such."""
        for number, value in self.fields():
            if number in wanted and isinstance(value, Span):
                yield number, Message(self._file, value)

    def number(self, wanted: int) -> int | None:
        """The last varint of a field; None without one."""
        found = None
        for number, value in self.fields():
            if number == wanted and isinstance(value, int):
                found = value
        return found

    def text(self, wanted: int) -> str:
        """The last text of a field; empty without one."""
        found = ""
        for number, value in self.fields():
            if number == wanted and isinstance(value, Span):
                found = self._bytes(value).decode(errors="replace")
        return found

    def _bytes(self, span: Span) -> bytes:
        if span.end - span.start > _MOST_TEXT_BYTES:
            raise WireError(f"a text of {span.end - span.start:,} bytes is at byte {span.start:,}")
        self._file.seek(span.start)
        return self._file.read(span.end - span.start)

    def _varint(self, at: int) -> tuple[int, int]:
        """A varint, which must end within the message, and the place behind it."""
        self._file.seek(at)
        data = self._file.read(min(_MOST_VARINT_BYTES, self._span.end - at))
        value = 0
        for place, byte in enumerate(data):
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value, at + place + 1
        raise WireError(f"a number at byte {at:,} has no end")


def head(number: int, length: int) -> bytes:
    """The bytes before a field of this number that holds `length` bytes."""
    return _as_varint(number << 3 | _LENGTH) + _as_varint(length)


def _as_varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
