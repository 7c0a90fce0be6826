import errno
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import CorruptFile, JobMismatch
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.partition import ledger
from shared.job.partition.ledger import Seal
from shared.storage import files
from tests.support.builds import DIGEST, info_of
from tests.support.make_job import make_job


def whole_build(job: JobDir, build: str, content: bytes = b"an index") -> IndexInfo:
    directory = job.build_dir(build)
    directory.mkdir(parents=True)
    (directory / builds.INDEX_FILE).write_bytes(content)
    info = info_of(build, {builds.INDEX_FILE: {"bytes": len(content), "sha256": "0" * 64}})
    builds.write_info(job, info)
    return info


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    return JobDir.at(tmp_path / "holidays")


def test_info_comes_back_as_it_was_written(job: JobDir) -> None:
    info = whole_build(job, "0001-ab12cd34")
    assert builds.read_info(job, "0001-ab12cd34") == info
    table = json.loads((job.build_dir("0001-ab12cd34") / builds.INFO_FILE).read_text())
    assert (table["bytes"], table["format"], table["recall_at_10"]) == (8, builds.FORMAT, 0.993)


def test_recall_is_told_with_its_queries_and_not_made_up(job: JobDir) -> None:
    assert info_of("0001-x").recall_text == "recall@10 0.993 (50 queries)"
    assert "not measured" in info_of("0001-x", recall=None).recall_text


@pytest.mark.parametrize(
    ("reached", "asked", "type", "says"),
    [
        (0.984, 0.99, "IVF-PQ", "recall@10 of 0.99 that was asked for, .*searched$"),
        (0.984, 0.99, "IVF-RaBitQ", "^short of the recall@10"),
        (0.99, 0.99, "IVF-PQ", "^$"),
        (None, 0.99, "Flat", "^$"),
        (0.5, None, "IVF-PQ", "^$"),
    ],
)
def test_a_build_says_when_it_is_short_of_the_recall_asked_for(
    reached: float | None, asked: float | None, type: str, says: str
) -> None:
    request = None if asked is None else {"index": "auto", "recall": asked, "memory_bytes": 0}
    info = replace(info_of("0001-x", recall=reached), type=type, wish=request)
    assert re.search(says, info.shortfall)


@pytest.mark.parametrize(("type", "other"), [("IVF-PQ", "rabitq"), ("IVF-RaBitQ", "ivf-pq")])
def test_what_finds_more_than_a_build_that_is_short_of_its_recall_is_another_family(type: str, other: str) -> None:
    farther = replace(info_of("0001-x"), type=type).farther
    assert (farther.action, farther.given) == ("option", {"index": other})
    assert str(farther) == f"the option index={other} may find more, and the option recall asks for less"


def test_nothing_is_promoted_in_a_new_job(job: JobDir) -> None:
    assert builds.current_build(job) is None
    assert builds.current_info(job) is None
    assert builds.build_names(job) == []


def test_the_promoted_build_is_the_last_one_promoted(job: JobDir) -> None:
    first, second = whole_build(job, "0001-aaaa"), whole_build(job, "0002-bbbb")
    for info in (first, second, first):
        builds.promote(job, info.build)
        assert builds.current_info(job) == info


@pytest.mark.parametrize("damage", ["no index.json", "file missing", "file cut short", "half index.json"])
def test_a_build_that_is_not_whole_is_not_promoted(job: JobDir, damage: str) -> None:
    whole_build(job, "0001-aaaa")
    builds.promote(job, "0001-aaaa")
    whole_build(job, "0002-bbbb")
    directory = job.build_dir("0002-bbbb")
    info_file, index_file = directory / builds.INFO_FILE, directory / builds.INDEX_FILE
    if damage == "no index.json":
        info_file.unlink()
    elif damage == "half index.json":
        info_file.write_bytes(info_file.read_bytes()[:40])
    elif damage == "file missing":
        index_file.unlink()
    else:
        index_file.write_bytes(b"an i")
    with pytest.raises(CorruptFile, match=r"0002-bbbb.*: a repair removes it, and indexing builds"):
        builds.promote(job, "0002-bbbb")
    assert builds.current_build(job) == "0001-aaaa"


@pytest.mark.parametrize("content", [b"", b"0007-gone\n", b"../../etc", b"\xff\xfe"])
def test_a_current_that_names_no_build_says_what_to_do(job: JobDir, content: bytes) -> None:
    whole_build(job, "0001-aaaa")
    job.current.write_bytes(content)
    with pytest.raises(CorruptFile, match="a repair takes it back, and indexing builds the index anew"):
        builds.current_build(job)


def test_an_info_of_another_format_names_both_versions(job: JobDir) -> None:
    info = whole_build(job, "0001-aaaa")
    builds.write_info(job, replace(info, format=7))
    with pytest.raises(JobMismatch, match=r"format 7.*formats 1 and 2"):
        builds.read_info(job, "0001-aaaa")


def test_an_info_that_is_about_another_build_is_refused(job: JobDir) -> None:
    whole_build(job, "0001-aaaa")
    job.build_dir("0001-aaaa").rename(job.build_dir("0002-bbbb"))
    with pytest.raises(CorruptFile, match="0001-aaaa"):
        builds.read_info(job, "0002-bbbb")


@pytest.mark.parametrize(
    "change",
    [{"ntotal": 1.5}, {"nprobe": "2"}, {"p50_ms": "fast"}, {"type": 1}, {"files": {"index.faiss": {"bytes": 8}}},
     {"files": {"index.faiss": {"bytes": 8.0, "sha256": "0"}}}],
)  # fmt: skip
def test_an_info_with_values_of_another_type_is_refused(job: JobDir, change: dict[str, object]) -> None:
    whole_build(job, "0001-aaaa")
    path = job.build_dir("0001-aaaa") / builds.INFO_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CorruptFile, match="a repair removes it"):
        builds.read_info(job, "0001-aaaa")


def test_a_disk_that_does_not_answer_says_nothing_about_a_build(job: JobDir, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_build(job, "0001-aaaa")

    def refuse(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(files, "read_marker", refuse)
    for call in (builds.current_build, lambda job: builds.read_info(job, "0001-aaaa")):
        with pytest.raises(OSError, match="Input/output error"):
            call(job)


def test_checksums_are_compared_where_asked(job: JobDir) -> None:
    info = whole_build(job, "0001-aaaa")
    builds.check_files(job, info, checksums=False)
    with pytest.raises(CorruptFile, match="another checksum"):
        builds.check_files(job, info, checksums=True)


def test_build_numbers_count_as_numbers(job: JobDir) -> None:
    assert builds.next_build_name(job, DIGEST) == "0001-ab12cd34"
    for name in ("9999-x", "10000-x", "0100-x", "notes", ".0200-x.tmp"):
        job.build_dir(name).mkdir(parents=True)
    assert builds.build_names(job) == ["0100-x", "9999-x", "10000-x"]
    assert builds.next_build_name(job, DIGEST) == "10001-ab12cd34"


def seal_of(number: int, emb: str = "a", metadata: str = "b", errors: str = "c", embedded: int = 3) -> Seal:
    files = {
        f"img_emb/img_emb_{number:04d}.npy": {"bytes": 1, "sha256": emb},
        f"metadata/metadata_{number:04d}.parquet": {"bytes": 1, "sha256": metadata},
        f"errors/errors_{number:04d}.parquet": {"bytes": 1, "sha256": errors},
    }
    return Seal("model", number, 10 * number, 10 * number + 10, embedded, 10 - embedded, 16, 1.0, 2.0, files)


def test_the_digest_changes_with_what_an_index_covers_and_with_nothing_else() -> None:
    base = [seal_of(0), seal_of(1)]
    digest = builds.ledger_digest(base)
    assert len(digest) == 64
    others = [
        [seal_of(0)],
        [seal_of(1), seal_of(0)],
        [seal_of(0), seal_of(1, emb="z")],
        [seal_of(0), seal_of(1, metadata="z")],
        [seal_of(0), seal_of(1, embedded=4)],
    ]
    assert len({digest, *map(builds.ledger_digest, others)}) == 6
    again = [replace(seal_of(0, errors="z"), seconds=9.0, sealed_at=9.0), seal_of(1)]
    assert builds.ledger_digest(again) == digest


def test_the_digest_reads_the_seals_that_the_ledger_writes(tmp_path: Path) -> None:
    one, two = (make_job(tmp_path / name, seed=seed) for name, seed in (("one", 1), ("two", 2)))
    digests = [builds.ledger_digest(ledger.sealed(made.job)) for made in (one, one, two)]
    assert digests[0] == digests[1] != digests[2]
