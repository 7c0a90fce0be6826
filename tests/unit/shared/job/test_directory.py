import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import JobError, JobNotFound
from shared.job.directory import JobDir, check_job_id

HOSTILE_IDS = [
    "", ".", "..", "a..b", "../a", "a/b", "/a", "a\\b", " a", "a ", "a\n", "a\t", "a\0", "x" * 65, "~a",
    "a*", "a?", "a[b]", "a:b", "a|b", "a#b", "a%b", "a\"b", "a\u202eb", "a\u200bb", "\u0663", "\N{GRINNING FACE}",
]  # fmt: skip


@pytest.mark.parametrize(
    "job_id",
    [
        "a", "photos-2024", "A.b_c-9", "x" * 64, ".hidden", "0007", "My photos (2024)", "Übersicht", "U\u0308bersicht",
        "写真", "фото + видео", "it's & b@c, d!",
    ],
)  # fmt: skip
def test_plain_names_are_ids(job_id: str) -> None:
    assert check_job_id(job_id) == job_id


@pytest.mark.parametrize("job_id", [*HOSTILE_IDS, None, 7, b"bytes", ["a"], True])
def test_whatever_could_lead_elsewhere_is_no_id(job_id: object) -> None:
    with pytest.raises(JobError, match="can't name a job"):
        check_job_id(job_id)  # type: ignore[arg-type]


def test_an_id_leaves_room_for_what_stands_behind_it_in_the_name_of_a_file() -> None:
    assert check_job_id("写" * 64) == "写" * 64
    with pytest.raises(JobError, match="can't name a job"):
        check_job_id("\U00020000" * 64)  # 256 bytes.


def test_a_refused_id_is_shown_shortened() -> None:
    with pytest.raises(JobError) as refused:
        check_job_id("/" * 1_000_000)
    assert len(str(refused.value)) < 400


@given(st.text(max_size=70))
def test_an_accepted_id_is_one_plain_name(text: str) -> None:
    try:
        check_job_id(text)
    except JobError:
        return
    assert Path("/root/jobs", text).parent == Path("/root/jobs")
    assert os.path.normpath(text) == text
    assert 1 <= len(text) <= 64


def test_a_job_is_known_by_the_name_of_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = JobDir.at(Path("jobs/../jobs/clothes"))
    assert job.path == tmp_path.resolve() / "jobs" / "clothes"
    assert (job.job_id, job.jobs_root) == ("clothes", tmp_path.resolve() / "jobs")
    assert JobDir.under(Path("jobs"), "clothes") == job


def test_a_home_that_nobody_has_is_a_name_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert JobDir.at(Path("~no-such-user/job")).path == tmp_path.resolve() / "~no-such-user" / "job"


def test_a_directory_whose_name_is_no_id_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "my:photos", Path("/")):
        with pytest.raises(JobError, match="can't name a job"):
            JobDir.at(path)


@pytest.mark.parametrize("job_id", HOSTILE_IDS)
def test_no_message_leads_out_of_the_jobs_root(tmp_path: Path, job_id: str) -> None:
    with pytest.raises(JobError):
        JobDir.under(tmp_path, job_id)


def test_a_link_out_of_the_jobs_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "jobs"
    root.mkdir()
    (root / "inside").mkdir()
    (root / "link").symlink_to(root / "inside")
    (root / "out").symlink_to(tmp_path)
    assert JobDir.under(root, "link").path == root.resolve() / "inside"
    with pytest.raises(JobError, match="leads out of the jobs root"):
        JobDir.under(root, "out")


def test_every_name_inside_a_job_is_the_documented_one(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    inside = [
        job.spec,
        job.paths(7),
        job.chunk(7, 12),
        *job.sealed_files(7),
        job.seal(7),
        job.build_dir("0001-ab12cd34"),
        job.current,
        job.model_dir,
        job.source_files,
        job.accepted_failures,
    ]
    assert [str(path.relative_to(job.path)) for path in inside] == [
        "job.json",
        "paths/paths_0007.parquet",
        "chunks/0007/0012.parquet",
        "img_emb/img_emb_0007.npy",
        "metadata/metadata_0007.parquet",
        "errors/errors_0007.parquet",
        "ledger/0007.json",
        "index/0001-ab12cd34",
        "index/CURRENT",
        "model",
        "source_files.json",
        "accepted_failures",
    ]
    assert job.sealed_files(7) == (job.img_emb(7), job.metadata(7), job.errors(7))


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_attempts_lie_in_a_job_on_a_disk_and_beside_one_in_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    here, there = JobDir.at(tmp_path / "photos"), JobDir.at("s3://bucket/photos")
    for job in (here, there):
        touch(job.attempt(7, "ab"))
        assert job.attempts(7) == [job.attempt(7, "ab")]
    assert (here.attempts_inside(7), here.attempts_outside(7)) == ([here.chunk_dir(7) / "attempt_ab.txt"], [])
    assert (there.attempts_inside(7), there.attempts_outside(7)) == ([], there.attempts(7))


def test_numbers_are_sorted_as_numbers_also_beyond_four_digits(tmp_path: Path) -> None:
    job, numbers = JobDir(tmp_path), [9_999, 10_000, 2, 123_456, 0, 10]
    for number in numbers:
        for path in (job.seal(number), job.chunk(3, number), job.paths(number)):
            touch(path)
    assert job.sealed_numbers() == sorted(numbers)
    assert job.chunk_numbers(3) == sorted(numbers)
    assert job.paths_numbers() == sorted(numbers)
    assert job.chunk_numbers(4) == []


def test_files_that_are_named_otherwise_have_no_number(tmp_path: Path) -> None:
    job = JobDir(tmp_path)
    touch(job.chunk(0, 5))
    strange = [".0001.parquet.ab.tmp", "0001.json", "0001 (1).parquet", "00002.parquet", "1.parquet", "x0001.parquet"]
    strange += ["0001.parquet.bak", "\u0660001.parquet", "-0001.parquet", "_0001.parquet", "0001xparquet"]
    for name in strange:
        touch(job.chunk_dir(0) / name)
    assert job.chunk_numbers(0) == [5]
    touch(job.ledger_dir / "0001.json")
    touch(job.ledger_dir / "0002.parquet")
    assert job.sealed_numbers() == [1]


def test_a_job_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    with pytest.raises(
        JobNotFound, match=r"no job at .*: mount the disk .*, or make one with indexing PHOTOS\."
    ) as said:
        job.require()
    assert said.value.remedy is not None
    assert (said.value.remedy.action, said.value.remedy.job) == ("index", str(job.path))
    job.path.mkdir()
    with pytest.raises(JobNotFound, match=r"exists but holds no job\.json"):
        job.require()
    touch(job.spec)
    assert job.require() is job
