"""Amounts as people say and type them, and addresses without their secrets."""

import pytest

from shared import text
from shared.errors import UsageError


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (0.4, "0 s"), (42, "42 s"), (59.6, "1 min 00 s"), (60, "1 min 00 s"), (71, "1 min 11 s"),
     (3599, "59 min 59 s"), (3599.7, "1 h 00 min"), (11_100, "3 h 05 min"), (360_000, "100 h 00 min")],
)  # fmt: skip
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert text.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (3_210_000_000, "3.2 GB"), (10**16, "10000.0 TB")],
)
def test_sizes_are_said_as_people_say_them(count: int, said: str) -> None:
    assert text.size(count) == said


@pytest.mark.parametrize(
    ("typed", "size"), [("5", 5), ("800MB", 800_000_000), ("1.5 GB", 1_500_000_000), ("2kB", 2_000), (" 3B ", 3)]
)
def test_sizes_are_read_as_people_type_them(typed: str, size: int) -> None:
    assert text.size_of(typed) == size


@pytest.mark.parametrize("typed", ["", "lots", "5 XB", "-3MB", "1,5GB", "MB"])
def test_what_is_no_size_is_said(typed: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        text.size_of(typed)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:pw@host/a@b.jpg", "https://host/a@b.jpg"),
        ("https://host/a@b.jpg?signature=pw", "https://host/a@b.jpg"),
        ("s3://key:pw@bucket/photos.tar?token=pw", "s3://bucket/photos.tar"),
        ("no answer of https://user:pw@host/x, tried 3 times", "no answer of https://host/x, tried 3 times"),
        ("file:///photos/a@b.jpg", "file:///photos/a@b.jpg"),
        ("gs://bucket/photos", "gs://bucket/photos"),
    ],
)
def test_secrets_are_taken_from_addresses_and_nothing_else(address: str, shown: str) -> None:
    assert text.without_secrets(address) == shown
