"""A protobuf message is read by its fields, and what is none is told by where it stops being one."""

import io
from pathlib import Path

import pytest
from onnx import AttributeProto

from shared.models.onnx.wire import Message, Span, WireError


def read(data: bytes) -> list[tuple[int, int | bytes]]:
    return [
        (number, value if isinstance(value, int) else data[value.start : value.end])
        for number, value in Message(io.BytesIO(data)).fields()
    ]


def test_fields_come_with_their_numbers_and_values() -> None:
    whole = AttributeProto(name="kernel", f=0.5, i=300, s=b"text", floats=[1, 2])
    fields = dict(read(whole.SerializeToString()))
    assert (fields[1], fields[3], fields[4]) == (b"kernel", 300, b"text")
    message = Message(io.BytesIO(whole.SerializeToString()))
    assert (message.text(1), message.number(3), message.number(99), message.text(99)) == ("kernel", 300, None, "")


def test_large_fields_are_passed_over_without_being_read() -> None:
    data = AttributeProto(s=b"x" * 10_000_000, i=7).SerializeToString()

    class Counted(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            self.taken += len(found)
            return found

    file = Counted(data)
    assert Message(file).number(3) == 7
    assert file.taken < 200


def test_a_message_in_a_message_ends_where_that_says() -> None:
    inner = AttributeProto(name="inner", i=1).SerializeToString()
    outer = AttributeProto(s=inner, i=2).SerializeToString()
    ((number, message),) = Message(io.BytesIO(outer)).messages(4)
    assert (number, message.text(1), message.number(3)) == (4, "inner", 1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x0a\x05abc", "5 bytes are announced at byte 2, and 3 are there"),
        (b"\x80\x80", "a number at byte 0 has no end"),
        (b"\x18" + b"\xff" * 11, "a number at byte 1 has no end"),
        (b"\x03", "begins no field"),
        (b"\x00\x01", "begins no field"),
        (b"\x0d\x01", "4 bytes are announced at byte 1, and 1 are there"),
        (b"\x89PNG\r\n\x1a\n", "8 bytes are announced at byte 2"),
        (b"<!DOCTYPE html>", "begins no field"),
    ],
)
def test_what_is_no_message_or_half_of_one_says_where(data: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        read(data)


def test_every_cut_of_a_message_is_told_or_ends_between_two_fields() -> None:
    whole = AttributeProto(name="kernel", i=300, s=b"text").SerializeToString()
    ends = set()
    for end in range(len(whole)):
        try:
            read(whole[:end])
            ends.add(end)
        except WireError:
            pass
    assert ends == {0, 8, 11}


def test_a_text_of_megabytes_is_no_name(tmp_path: Path) -> None:
    data = AttributeProto(s=b"x" * 2_000_000).SerializeToString()
    with pytest.raises(WireError, match="a text of 2,000,000 bytes"):
        Message(io.BytesIO(data), Span(0, len(data))).text(4)
