"""What is vendored is what its table says, byte for byte, with its licence beside it."""

import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "support" / "vendored"
ROW = re.compile(r"^\| `([^`]+)` \| [^|]+ \| [^|]*in `([^`]+)` \| `([0-9a-f]{64})` \|$", re.MULTILINE)


def test_every_vendored_part_has_its_checksum_and_its_licence() -> None:
    rows = ROW.findall((FOLDER / "README.md").read_text())
    assert {path for path, _, _ in rows} == {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.js")}
    for path, licence, checksum in rows:
        assert hashlib.sha256((FOLDER / path).read_bytes()).hexdigest() == checksum, path
        assert "Mozilla Public License" in (FOLDER / licence).read_text()
