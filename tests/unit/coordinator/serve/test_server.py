"""What a server refuses before it listens."""

import socket
from pathlib import Path

import pytest

from coordinator.serve.server import Asked, serve
from shared.errors import LookalikeError, SettingsError, UsageError
from shared.settings import Settings
from tests.support.http_api import key_file


def never(place: str) -> None:
    raise AssertionError(f"It listens at {place}.")


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "photos.example"])
def test_an_address_that_others_reach_takes_keys(tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="without keys everyone there could search"):
        serve(Asked(Settings(), tmp_path, address=address), never)


def test_a_file_of_keys_that_is_none_is_refused_before_it_listens(tmp_path: Path) -> None:
    keys = key_file(tmp_path)
    keys.write_text("phone read short\n")
    with pytest.raises(SettingsError, match="has a key of 5 characters"):
        serve(Asked(Settings(), tmp_path, address="0.0.0.0", keys=keys), never)


def test_an_address_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(LookalikeError, match=r"can't listen at 127\.0\.0\.1:\d+ \(.*in use"):
            serve(Asked(Settings(), tmp_path, port=other.getsockname()[1]), never)
