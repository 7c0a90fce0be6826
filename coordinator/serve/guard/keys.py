"""The keys that a server takes, each with a name and a scope, from a file; compared in constant time."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.serve.declared.operation import READ, SCOPES, WRITE
from coordinator.serve.problems import Refused
from shared.errors import SettingsError

_LEAST: Final = 32
_KEY: Final = re.compile(r"[A-Za-z0-9_.~+/=-]+")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LINE: Final = "NAME read KEY or NAME write KEY"


@dataclass(frozen=True, slots=True)
class Key:
    """A key: its name, which the log has, its scope, and the SHA-256 of the key itself."""

    name: str
    scope: str
    digest: bytes


class Keys:
    """The keys of a file, which is read once. Without a file everyone may do everything."""

    def __init__(self, keys: Sequence[Key] | None) -> None:
        self._keys = keys

    @property
    def are_needed(self) -> bool:
        return self._keys is not None

    def require(self, authorization: str | None, scope: str | None) -> str | None:
        """The name of the key that a request has, if it is good for `scope`; None where no key is needed.

        Raises Refused with 401 without a known key, and with 403 where its scope does not reach.
        """
        if self._keys is None or scope is None:
            return None
        key = self._of(authorization or "")
        if key is None:
            raise Refused(
                401,
                "A key is needed: send the header Authorization: Bearer KEY with one of the keys that this server has.",
                {"WWW-Authenticate": 'Bearer realm="lookalike"'},
            )
        if scope == WRITE and key.scope == READ:
            raise Refused(
                403,
                f"The key {key.name} is good for reading alone, and this changes the job: use one for {WRITE}.",
                {"WWW-Authenticate": 'Bearer realm="lookalike", error="insufficient_scope"'},
            )
        return key.name

    def _of(self, authorization: str) -> Key | None:
        kind, _, given = authorization.partition(" ")
        digest = hashlib.sha256(given.strip().encode(errors="surrogateescape")).digest()
        found = None
        # All are compared, whichever fits, so that the time says nothing of how near a guess was.
        for key in self._keys or ():
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found if kind.lower() == "bearer" else None


def read_keys(path: Path) -> Keys:
    """The keys of a file, one a line: NAME SCOPE KEY. What begins with # is passed over.

    Raises SettingsError, which shows no key, for a file that can't be read or a line that is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SettingsError(f"The file of keys {path} can't be read: {reason}.") from None
    keys: list[Key] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words and not words[0].startswith("#"):
            keys.append(_key(words, f"Line {number} of the file of keys {path}"))
    if not keys:
        raise SettingsError(f"The file of keys {path} has no key: write a line for each, {_LINE}.")
    for what in ("name", "digest"):
        if len({getattr(key, what) for key in keys}) < len(keys):
            raise SettingsError(f"The file of keys {path} has one {'key' if what == 'digest' else what} twice.")
    return Keys(keys)


def _key(words: Sequence[str], where: str) -> Key:
    if len(words) != 3 or not _NAME.fullmatch(words[0]):
        raise SettingsError(f"{where} has {len(words)} words; expected {_LINE}, the name of letters, digits and _.-")
    name, scope, key = words
    if scope not in SCOPES:
        raise SettingsError(f"{where} has a scope that there is not; expected {' or '.join(SCOPES)}.")
    if len(key) < _LEAST or not _KEY.fullmatch(key):
        raise SettingsError(
            f"{where} has a key of {len(key)} characters; expected at least {_LEAST} letters, digits and -._~+/= drawn "
            "by chance."
        )
    return Key(name, scope, hashlib.sha256(key.encode()).digest())
