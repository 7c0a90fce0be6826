"""Paths in a store: what is typed, what is asked of fsspec, and what its errors become."""

import errno
import io
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from shared.errors import CorruptFile, JobError, JobNotFound, LookalikeError, StoreError, UsageError, error_from_json
from shared.job.directory import JobDir
from shared.storage import drivers, files, parquet, scratch, stores
from shared.storage.stores import StorePath, any_path


@pytest.fixture
def root() -> StorePath:
    path = any_path(f"memory://{uuid.uuid4().hex}")
    assert isinstance(path, StorePath)
    return path


@pytest.fixture
def scheme() -> Iterator[Callable[[type[MemoryFileSystem]], str]]:
    """Makes a file system known under a scheme of its own."""

    def register(kind: type[MemoryFileSystem]) -> str:
        name = f"test{uuid.uuid4().hex[:8]}"
        kind.protocol = name
        fsspec.register_implementation(name, kind)
        return name

    yield register
    drivers.file_system.cache_clear()


@pytest.fixture
def local(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / uuid.uuid4().hex
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("typed", "shown", "parent"),
    [
        ("s3://bucket/jobs/photos", "s3://bucket/jobs/photos", "s3://bucket/jobs"),
        ("S3://bucket/jobs/photos/", "s3://bucket/jobs/photos", "s3://bucket/jobs"),
        ("gs://bucket//photos", "gs://bucket/photos", "gs://bucket"),
        ("memory://photos", "memory://photos", "memory://"),
        (Path("s3://bucket/photos"), "s3://bucket/photos", "s3://bucket"),
    ],
)
def test_a_url_is_a_path_in_a_store_also_where_pathlib_had_it_before(
    typed: str | Path, shown: str, parent: str
) -> None:
    path = any_path(typed)
    assert isinstance(path, StorePath)
    assert (str(path), str(path.parent), path.name) == (shown, parent, "photos")
    assert any_path(path) is path
    assert path.resolve() == path.absolute() == path.expanduser() == path
    assert (path / "ledger" / "0001.json").relative_to(path).as_posix() == "ledger/0001.json"
    assert JobDir.at(typed).path == path


@pytest.mark.parametrize("typed", ["/jobs/photos", "photos", "a:b/c", "./s3", "file:///jobs/photos", "C:/x", "~/x"])
def test_everything_else_is_a_path_of_this_machine(typed: str) -> None:
    path = any_path(typed)
    assert not isinstance(path, StorePath)
    assert str(path) == os.path.expanduser(typed.removeprefix("file://").removeprefix("./"))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("s3://bucket", "names no folder in a bucket"),
        ("s3://key:hunter2@bucket/photos", "has a password in it"),
        ("s3://bucket/photos?token=hunter2", "is no URL of files in a store"),
        ("s3://bucket/../photos", "leads elsewhere"),
        ("s3://bucket/*/photos", "no pattern"),
        ("simplecache::s3://key:hunter2@bucket/photos", "goes through one store to another"),
        ("simplecache::s3://bucket/photos", "goes through one store to another"),
    ],
)
def test_a_url_that_can_be_no_jobs_is_refused_without_its_secrets(typed: str, said: str) -> None:
    for place in (typed, Path(typed)):
        with pytest.raises(UsageError, match=said) as refused:
            JobDir.at(place)
        assert "hunter2" not in str(refused.value)


def test_a_job_id_leads_nowhere_else_in_a_store() -> None:
    assert str(JobDir.under("s3://bucket/jobs", "photos").path) == "s3://bucket/jobs/photos"
    for name in ("..", "a/b", "a/../../other"):
        with pytest.raises(JobError):
            JobDir.under("s3://bucket/jobs", name)


def test_nothing_that_works_on_local_files_takes_a_path_in_a_store(root: StorePath) -> None:
    with pytest.raises(TypeError, match="lies in a store"):
        Path.open(root / "a", "wb")
    with pytest.raises(TypeError, match="lies in a store"):
        (root / "a").write_bytes(b"")


def test_files_of_a_store_are_written_listed_read_and_removed(root: StorePath) -> None:
    for name in ("ledger/0001.json", "ledger/0000.json", "job.json"):
        files.write_bytes(root / name, f"{name}\n".encode())
    assert files.names_in(root) == ["job.json", "ledger"]
    assert files.directories_in(root) == ["ledger"]
    assert files.names_in(root / "ledger") == ["0000.json", "0001.json"]
    assert [path.relative_to(root).as_posix() for path in root.find()] == [
        "job.json",
        "ledger/0000.json",
        "ledger/0001.json",
    ]
    path = root / "ledger" / "0001.json"
    assert files.read_marker(path) == b"ledger/0001.json\n"
    assert (path.is_file(), path.is_dir(), path.parent.is_file(), path.parent.is_dir()) == (True, False, False, True)
    assert path.stat().st_size == 17
    assert files.sha256_of(path) == files.sha256_of(path)
    before = path.stat().st_ino
    files.write_bytes(path, b"ledger/0002.json\n")
    assert path.stat().st_ino != before
    path.unlink()
    path.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        path.unlink()
    files.remove_all(root / "ledger")
    files.remove_all(root / "ledger")
    assert files.names_in(root) == ["job.json"]
    with pytest.raises(FileNotFoundError):
        files.names_in(root / "ledger")
    assert files.directories_in(root / "ledger") == []


def test_an_error_while_a_file_is_written_aside_leaves_the_one_that_was_there(root: StorePath) -> None:
    files.write_bytes(root / "CURRENT", b"one\n")
    with pytest.raises(TypeError), files.written_aside(root / "CURRENT") as aside:
        aside.write_bytes("no bytes")  # type: ignore[arg-type]
    assert (root / "CURRENT").read_bytes() == b"one\n"


def test_what_a_killed_process_staged_goes_when_the_next_stages_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch.staged("mine") as mine:
        left = mine.parent.parent / "2147483646-dead"
        left.mkdir()
        (left / "chunk").write_bytes(b"half")
        with scratch.staged("other") as other:
            other.write_bytes(b"")
            assert not left.exists()
            assert mine.parent.exists()
    assert [*(scratch.private_directory() / "staged").iterdir()] == []


def test_of_two_writers_the_first_one_wins(root: StorePath, local: Callable[[bytes], Path]) -> None:
    (root / "chunk").put(local(b"first"), keep_first=True)
    (root / "chunk").put(local(b"second"), keep_first=True)
    assert (root / "chunk").read_bytes() == b"first"
    (root / "chunk").put(local(b"third"))
    assert (root / "chunk").read_bytes() == b"third"


def test_without_conditional_writes_the_first_one_still_wins(
    scheme: Callable[[type[MemoryFileSystem]], str], local: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain(MemoryFileSystem):
        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
            if mode == "create":
                raise OSError(errno.ENOSYS, "A header you provided implies functionality that is not implemented")
            super().pipe_file(path, value)

    name = scheme(Plain)
    monkeypatch.setattr(stores, "WHOLE_OBJECTS", {name})
    path = any_path(f"{name}://{uuid.uuid4().hex}/chunk")
    assert isinstance(path, StorePath)
    path.put(local(b"first"), keep_first=True)
    path.put(local(b"second"), keep_first=True)
    assert path.read_bytes() == b"first"


def test_where_files_are_written_in_place_one_is_written_aside_and_renamed(
    scheme: Callable[[type[MemoryFileSystem]], str], local: Callable[[bytes], Path]
) -> None:
    written: list[str] = []

    class InPlace(MemoryFileSystem):
        def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
            written.append(rpath.rpartition("/")[2])
            super().put_file(lpath, rpath, **options)

    path = any_path(f"{scheme(InPlace)}://{uuid.uuid4().hex}/job.json")
    assert isinstance(path, StorePath)
    path.put(local(b"one"))
    path.put(local(b"two"))
    path.put(local(b"three"), keep_first=True)
    assert path.read_bytes() == b"two"
    assert files.names_in(path.parent) == ["job.json"]
    assert all(name.startswith(".job.json.") and name.endswith(".tmp") for name in written)


class _Trouble(Exception):
    """As a store's library has its own."""


@pytest.mark.parametrize(
    ("raised", "said", "refused"),
    [
        (_Trouble("Could not connect to the endpoint"), "does not answer .*_Trouble: Could not connect", False),
        (TimeoutError(), r"does not answer .*\(TimeoutError\)", False),
        (PermissionError("Forbidden"), "refuses access", True),
        (OSError("Forbidden: https://x/o?access_token=hunter2\nmore"), "refuses access", True),
        (_Trouble("Unable to locate credentials"), "refuses access", True),
        (_Trouble("at http://user:hunter2@host/bucket?X-Amz-Signature=hunter2 nobody"), "does not answer", False),
    ],
)
def test_a_store_in_trouble_is_an_error_and_never_an_absent_file(
    scheme: Callable[[type[MemoryFileSystem]], str], raised: Exception, said: str, refused: bool
) -> None:
    class Broken(MemoryFileSystem):
        def info(self, path: str, **options: Any) -> dict[str, Any]:
            raise raised

        ls = info
        cat_file = info

    job = JobDir.at(f"{scheme(Broken)}://jobs/photos")
    for ask in (
        job.spec.is_file,
        job.spec.exists,
        job.path.is_dir,
        job.spec.read_bytes,
        job.require,
        job.sealed_numbers,
        lambda: parquet.read_table(job.copies),
    ):
        with pytest.raises(StoreError, match=said) as found:
            ask()
        assert isinstance(found.value, OSError)
        assert isinstance(found.value, LookalikeError)
        assert found.value.refused is refused
        assert found.value.errno not in (None, errno.ENOENT)
        assert found.value.__cause__ is None
        assert "hunter2" not in f"{found.value}{found.value.strerror}"


def test_a_job_that_is_not_there_is_said_to_be_so(root: StorePath) -> None:
    with pytest.raises(JobNotFound, match=f"There is no job at {root / 'photos'}"):
        JobDir.at(root / "photos").require()


def test_a_store_error_survives_the_way_in_a_reply() -> None:
    found = error_from_json({"kind": "StoreError", "message": "The store does not answer."})
    assert isinstance(found, StoreError)
    assert str(found) == "The store does not answer."


def test_a_library_that_is_missing_is_named_by_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(scheme: str, **options: Any) -> None:
        raise ImportError(f"Please install {scheme}")

    drivers.file_system.cache_clear()
    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(UsageError, match=r"pip install 'lookalike\[gcs\]'"):
        JobDir.at("gs://bucket/photos").require()
    with pytest.raises(UsageError, match=r"pip install 'lookalike\[s3\]'"):
        JobDir.at("s3://bucket/photos").require()
    drivers.file_system.cache_clear()


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(UsageError, match="gopher:// is no place that files are known to lie in"):
        JobDir.at("gopher://host/photos").require()


def test_of_a_parquet_file_only_the_end_is_read_for_its_schema(
    scheme: Callable[[type[MemoryFileSystem]], str], local: Callable[[bytes], Path]
) -> None:
    read: list[int] = []

    class Counting(MemoryFileSystem):
        def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
            found: bytes = super().cat_file(path, start=start, end=end)
            read.append(len(found))
            return found

    table = pa.table({"number": pa.array(range(200_000), pa.int64())}).replace_schema_metadata({"key": "value"})
    written = io.BytesIO()
    pq.write_table(table, written, compression="none", use_dictionary=False)
    path = any_path(f"{scheme(Counting)}://{uuid.uuid4().hex}/table.parquet")
    assert isinstance(path, StorePath)
    path.put(local(written.getvalue()))
    assert parquet.read_schema(path).metadata[b"key"] == b"value"
    assert sum(read) < 200_000 < len(written.getvalue())
    assert parquet.read_table(path).equals(table)
    with pytest.raises(CorruptFile, match="can't be read"):
        parquet.read_table(path.parent / "other.parquet")
