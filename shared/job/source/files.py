"""Record size, times and digests of a source's archives when they are listed, and compare them later."""

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from shared.errors import CorruptFile
from shared.images.location import suffix_of
from shared.images.paths import is_url, to_os_path
from shared.job.directory import JobDir
from shared.storage import files, remote

_END_BYTES: Final = 65_536
_FORMAT: Final = 1
_MOST_TABLE: Final = 1 << 28
# The end of a zip's directory: signature, disks, counts, its size and place, the length of the comment behind it.
_ZIP_END: Final = struct.Struct("<4s4H2IH")
_TAGS: Final = ("ETag", "etag", "md5Hash")


@dataclass(frozen=True, slots=True)
class FileState:
    """What a file of a source is: `size` in bytes; of a file on a disk `mtime_ns`, and `digest`, the hex SHA-256 of its
    head and tail, of a zip's directory and a Parquet file's footer besides; of a URL the `tag` that its place gives it.

    None is what is not known.
    """

    size: int
    mtime_ns: int | None = None
    digest: str | None = None
    tag: str | None = None


def state_of(archive: str, *, digest: bool = True) -> FileState | None:
    """What the file at `archive`, a text as `to_text` makes it or a URL, is now; None where that can't be had."""
    if is_url(archive):
        return _remote_state(archive)
    try:
        with open(to_os_path(archive), "rb") as file:
            found = os.fstat(file.fileno())

            def read_at(start: int, length: int) -> bytes:
                file.seek(start)
                return file.read(length)

            state = FileState(found.st_size, found.st_mtime_ns)
            return replace(state, digest=_digest(read_at, state.size, suffix_of(archive))) if digest else state
    except (OSError, ValueError):
        return None


def _remote_state(url: str) -> FileState | None:
    """One request; no bytes are read, which may cost money and time."""
    try:
        fs, path = remote.filesystem(url)
        fs.invalidate_cache(path)
        info = fs.info(path)
    except Exception:  # Each file system has exceptions of its own; the code that reads the file reports the problem.
        return None
    size = info.get("size")
    tag = next((str(info[key]) for key in _TAGS if info.get(key)), None)
    return FileState(size, tag=tag) if isinstance(size, int) else None


def _digest(read_at: Callable[[int, int], bytes], size: int, suffix: str) -> str:
    digest = hashlib.sha256(read_at(0, _END_BYTES))
    tail = read_at(max(0, size - _END_BYTES), _END_BYTES)
    digest.update(tail)
    table = 0  # How many bytes before the end the archive's table begins.
    if suffix == ".parquet" and len(tail) >= 8:
        table = 8 + int.from_bytes(tail[-8:-4], "little")
    elif suffix == ".zip" and (at := tail.rfind(b"PK\x05\x06")) >= 0 and len(tail) - at >= _ZIP_END.size:
        table = len(tail) - at + _ZIP_END.unpack_from(tail, at)[5]
    if table > _MOST_TABLE:  # What stands there is no length, as in a zip that has its lengths elsewhere.
        table = 0
    for start in range(max(0, size - table), size - len(tail), 1 << 20):
        digest.update(read_at(start, 1 << 20))
    return digest.hexdigest()


def difference(archive: str, listed: FileState) -> str | None:
    """How the file at `archive` differs from the one that was `listed`; None where it does not, or is not there.

    Its size and digest decide: a copy has another time of change, and is the same file.
    """
    now = state_of(archive, digest=False)
    if now is None:
        return None
    if now.size != listed.size:
        return f"it had {listed.size:,} bytes when it was listed, and has {now.size:,} now"
    if listed.tag is not None and now.tag is not None and now.tag != listed.tag:
        return "it has another content than when it was listed, by the tag that its place gives it"
    if now.mtime_ns == listed.mtime_ns or listed.digest is None:
        return None
    now = state_of(archive)
    if now is None or now.digest == listed.digest:
        return None
    return "it has as many bytes as when it was listed, but others at its beginning, its end or in its table"


def to_json(states: Mapping[str, FileState]) -> dict[str, dict[str, Any]]:
    """`states` by their path, without what is not known."""
    return {
        path: {key: value for key, value in asdict(state).items() if value is not None}
        for path, state in states.items()
    }


def from_json(table: Mapping[str, Mapping[str, Any]]) -> dict[str, FileState]:
    """The inverse of `to_json`; raises TypeError or AttributeError for anything else."""
    return {path: FileState(**state) for path, state in table.items()}


def write_source_files(job: JobDir, states: Mapping[str, FileState]) -> None:
    """Write what the archives of a job's source were when they were listed, by their path; before job.json."""
    table = to_json(states)
    data = json.dumps({"format": _FORMAT, "files": table}, indent=1, ensure_ascii=False) + "\n"
    files.write_bytes(job.source_files, data.encode("utf-8", "surrogatepass"))


def read_source_files(job: JobDir) -> dict[str, FileState]:
    """What the archives of a job's source were when it was made; none where it has no such file, as those of earlier
    versions. What changes of the job say of them since is in its state.

    Raises CorruptFile when it is not what `write_source_files` writes.
    """
    try:
        table: dict[str, Any] = json.loads(files.read_marker(job.source_files).decode("utf-8", "surrogatepass"))
        return from_json(table["files"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(
            f"{job.source_files} does not say what the archives of the source were ({error!r}): restore it from a "
            "copy. Without it, the archives are not compared with what they were."
        ) from None
