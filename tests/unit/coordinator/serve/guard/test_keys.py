"""The file of keys: what is one, and that no message shows a key."""

from pathlib import Path

import pytest

from coordinator.serve.guard.keys import read_keys
from coordinator.serve.problems import Refused
from shared.errors import SettingsError
from tests.support.http_api import READ_KEY, WRITE_KEY, key_file


def test_a_key_is_known_by_its_name(tmp_path: Path) -> None:
    keys = read_keys(key_file(tmp_path))
    assert keys.are_needed
    assert keys.require(f"Bearer {READ_KEY}", "read") == "phone"
    assert keys.require(f"bearer  {WRITE_KEY}", "write") == "nas"
    assert keys.require(None, None) is None
    with pytest.raises(Refused, match="The key phone is good for reading alone"):
        keys.require(f"Bearer {READ_KEY}", "write")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no key"),
        ("# nothing\n", "has no key"),
        (f"a read {READ_KEY} more", "Line 1 .* has 4 words"),
        (f"\na admin {READ_KEY}", "Line 2 .* has a scope that there is not"),
        ("a read short-but-secret", "has a key of 16 characters"),
        (f"a read {READ_KEY}ü", "has a key of 41 characters"),
        (f"a read {READ_KEY}\na write {WRITE_KEY}", "has one name twice"),
        (f"a read {READ_KEY}\nb write {READ_KEY}", "has one key twice"),
        (f"b/c read {READ_KEY}", "expected NAME read KEY"),
    ],
)
def test_a_file_that_is_none_is_refused_without_showing_a_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(SettingsError, match=says) as raised:
        read_keys(path)
    assert READ_KEY not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_file_that_can_t_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path, says in ((tmp_path / "none", "No such file"), (tmp_path / "binary", "not UTF-8")):
        with pytest.raises(SettingsError, match=says):
            read_keys(path)
