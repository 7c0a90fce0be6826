import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.integrity.findings import Checked, Finding, Kind
from coordinator.integrity.verify import verify
from shared.errors import JobNotFound
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.answers import ANSWERS_FILE
from shared.job.manifest import load_manifest
from shared.job.opened import OpenJob, open_job, with_manifest
from shared.job.partition import checkpoint, ledger
from shared.models.fusion import Fusion
from shared.storage import files
from tests.support.damage import DAMAGES, age, cut, flip, snapshot
from tests.support.source_jobs import all_paths, commit, job_of_a_list

pytestmark = pytest.mark.slow


@pytest.fixture
def finished(tmp_path: Path) -> OpenJob:
    """A job of which everything is sealed, with an index."""
    return job_of_a_list(tmp_path, index=True)


@pytest.fixture
def half(tmp_path: Path) -> OpenJob:
    """A job with a sealed partition, one with two of three chunks, and one with nothing yet."""
    return job_of_a_list(tmp_path, sealed=[0], chunks={1: [0, 2]})


def found(job: JobDir) -> dict[str, Finding]:
    """The findings by their paths."""
    return {finding.path: finding for finding in verify(job, Checked())}


def kinds(job: JobDir) -> dict[str, Kind]:
    return {path: finding.kind for path, finding in found(job).items()}


def test_a_whole_job_has_no_finding_and_all_of_it_is_checked(finished: JobDir) -> None:
    before, checked = snapshot(finished.path), Checked()
    assert list(verify(finished, checked)) == []
    assert checked.whole
    assert checked.files == len(before)
    assert checked.bytes == sum(map(len, before.values()))
    assert checked.seconds >= 0
    assert snapshot(finished.path) == before


def test_a_job_under_way_has_no_finding(half: OpenJob) -> None:
    assert found(half) == {}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["img_emb", "metadata", "errors"])
def test_a_damaged_sealed_file_is_named_and_leads_to_its_partition(finished: OpenJob, kind: str, damage: str) -> None:
    path: Path = getattr(finished, kind)(1)
    DAMAGES[damage](path)
    (finding,) = verify(finished, Checked())
    assert (finding.path, finding.kind) == (str(path.relative_to(finished.path)), Kind.DAMAGE)
    assert finding.remove == (finished.seal(1), *finished.sealed_files(1))
    said = {"flipped": "another checksum", "deleted": "is missing"}.get(damage, "bytes, and its seal says")
    assert said in finding.sentence
    assert "with its whole partition, and the next indexing embeds its 25 images again." in finding.sentence


@pytest.mark.parametrize("damage", ["cut", "empty"])
def test_a_damaged_seal_is_named(finished: OpenJob, damage: str) -> None:
    DAMAGES[damage](finished.seal(2))
    assert kinds(finished) == {"ledger/0002.json": Kind.DAMAGE}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fingerprint": "other@0"}, "sealed for the model other@0"),
        ({"start": 24}, "seals the ids 24 to 49"),
        ({"stop": 49}, "seals the ids 25 to 48"),
        ({"partition": 2}, "as partition 2"),
        ({"embedded": 25, "failed": 0}, "do not cover"),
        ({"embedded": 24.0}, "counts"),
        ({"dim": 15}, "bytes; 24 x 15 float16"),
        ({"files": {}}, "files"),
        ({"files": None}, "files"),
        ({"seconds": "long"}, "counts"),
        ({"colour": 1}, "unexpected keyword"),
    ],
)
def test_a_seal_that_does_not_fit_its_partition_is_named(finished: OpenJob, change: dict[str, Any], said: str) -> None:
    path = finished.seal(1)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    (finding,) = verify(finished, Checked())
    assert (finding.path, finding.kind) == ("ledger/0001.json", Kind.DAMAGE)
    assert said in finding.wrong


def test_sealed_files_without_their_seal_are_left_over(finished: OpenJob) -> None:
    finished.seal(1).unlink()
    finding = found(finished)["img_emb/img_emb_0001.npy"]
    assert (finding.kind, finding.remove) == (Kind.LEFTOVER, finished.sealed_files(1))
    assert "without the seal ledger/0001.json" in finding.wrong


def test_sealed_files_that_somebody_may_be_writing_are_not_to_be_removed(tmp_path: Path) -> None:
    job = job_of_a_list(tmp_path, sealed=[], chunks={0: range(3), 1: range(3)})
    other = job_of_a_list(tmp_path_of(tmp_path), sealed=[0])
    for path in job.sealed_files(0):
        path.parent.mkdir()
        shutil.copy(other.path / path.relative_to(job.path), path)
    (finding,) = verify(job, Checked())
    assert (finding.kind, finding.remove, finding.remedy) == (Kind.LEFTOVER, (), "")
    job.chunk(0, 1).unlink()
    (finding,) = verify(job, Checked())
    assert finding.remove == job.sealed_files(0)


def tmp_path_of(tmp_path: Path) -> Path:
    other = tmp_path / "other"
    other.mkdir()
    return other


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "deleted"])
def test_a_damaged_chunk_is_named(half: OpenJob, damage: str) -> None:
    DAMAGES[damage](half.chunk(1, 2))
    (finding,) = verify(half, Checked())
    assert (finding.path, finding.kind) == ("chunks/0001/0002.parquet", Kind.DAMAGE)
    assert finding.remove == (half.chunk(1, 2),)
    assert "With a repair it is taken back, and the next indexing embeds its 5 images again." in finding.sentence


def test_a_chunk_of_another_size_or_model_is_named(half: OpenJob, tmp_path: Path) -> None:
    larger = replace(half.manifest, chunk_size=15)
    half.chunk(1, 2).unlink()
    commit(with_manifest(half, larger), 1, 1, all_paths(half))
    other = replace(half.manifest, model=replace(half.manifest.model, image_size=9))
    half.chunk(1, 2).unlink(missing_ok=True)
    commit(with_manifest(half, other), 1, 2, all_paths(half))
    named = found(half)
    assert {path: finding.kind for path, finding in named.items()} == {
        "chunks/0001/0001.parquet": Kind.DAMAGE,
        "chunks/0001/0002.parquet": Kind.DAMAGE,
    }
    assert "expected the ids 35 to 44" in named["chunks/0001/0001.parquet"].wrong
    assert other.model.fingerprint in named["chunks/0001/0002.parquet"].wrong


def test_chunks_that_no_partition_has_are_left_over(half: OpenJob) -> None:
    shutil.copy(half.chunk(1, 0), half.chunk(1, 7))
    shutil.copytree(half.chunk_dir(1), half.chunk_dir(9))
    shutil.copytree(half.chunk_dir(1), half.chunk_dir(0))
    assert kinds(half) == {
        "chunks/0000": Kind.LEFTOVER,
        "chunks/0001/0007.parquet": Kind.LEFTOVER,
        "chunks/0009": Kind.LEFTOVER,
    }
    assert "is sealed and whole" in found(half)["chunks/0000"].wrong


def test_chunks_that_were_left_beside_a_damaged_seal_are_kept_for_it(tmp_path: Path) -> None:
    other = job_of_a_list(tmp_path_of(tmp_path), sealed=[], chunks={0: range(3)})
    job = job_of_a_list(tmp_path, sealed=[0])
    shutil.copytree(other.chunk_dir(0), job.chunk_dir(0))
    cut(job.seal(0))
    flip(job.chunk(0, 1))
    assert kinds(job) == {"ledger/0000.json": Kind.DAMAGE, "chunks/0000/0001.parquet": Kind.DAMAGE}


def test_what_lies_beyond_the_manifest_is_left_over(finished: OpenJob) -> None:
    shutil.copy(finished.seal(0), finished.seal(5))
    shutil.copy(finished.paths(0), finished.paths(6))
    shutil.copy(finished.metadata(0), finished.metadata(7))
    fresh = found(finished)  # These may be of images that are just being added, or of a compaction.
    assert not fresh["paths/paths_0006.parquet"].remove
    assert not fresh["metadata/metadata_0007.parquet"].remove
    for path in (finished.paths(6), finished.metadata(7)):
        os.utime(path, (0, 0))
    named = found(finished)
    assert {path: finding.kind for path, finding in named.items()} == {
        "ledger/0005.json": Kind.LEFTOVER,
        "paths/paths_0006.parquet": Kind.LEFTOVER,
        "metadata/metadata_0007.parquet": Kind.LEFTOVER,
    }
    assert all(finding.remove for finding in named.values())
    cut(finished.paths(0))  # Now nothing confirms that job.json has the right number of partitions.
    named = found(finished)
    assert len(named) == 4
    assert [path for path, finding in named.items() if finding.remove] == []


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("partition", "need"), [(0, "no work needs it"), (2, "can't be embedded without it")])
def test_a_damaged_path_list_is_named_with_who_needs_it(half: OpenJob, damage: str, partition: int, need: str) -> None:
    DAMAGES[damage](half.paths(partition))
    (finding,) = verify(half, Checked())
    assert (finding.path, finding.kind) == (f"paths/paths_{partition:04d}.parquet", Kind.DAMAGE)
    assert finding.relist == partition
    assert need in finding.wrong


def test_a_path_list_with_other_images_is_noticed_and_nothing_else_is_judged(finished: OpenJob) -> None:
    paths = all_paths(finished)
    path_list.write_paths(finished, finished.partition(1), [f"{path}x" for path in paths[25:50]])
    cut(finished.seal(0))
    assert kinds(finished) == {"job.json": Kind.DAMAGE}


@pytest.mark.parametrize(
    "change", [{"listed": 50}, {"listed": 61}, {"listed": 1_000}, {"partition_size": 24}, {"partition_size": 26}]
)
def test_a_number_of_job_json_that_was_changed_never_condemns_what_is_good(
    finished: OpenJob, change: dict[str, int]
) -> None:
    finished.spec.write_text(json.dumps(json.loads(finished.spec.read_text()) | change))
    named = found(finished)
    assert any(finding.kind is Kind.DAMAGE for finding in named.values())
    assert [path for path, finding in named.items() if finding.remove or finding.promote] == []


def test_a_dimension_that_was_changed_never_condemns_the_seals(finished: OpenJob) -> None:
    table = json.loads(finished.spec.read_text())
    finished.spec.write_text(json.dumps(table | {"model": table["model"] | {"dim": 17}}))
    (finding,) = verify(finished, Checked())
    assert (finding.path, finding.kind, finding.remove) == ("job.json", Kind.DAMAGE, ())
    assert "17 dimensions, and those that are sealed have 16" in finding.wrong


def test_a_chunk_size_that_was_changed_never_condemns_the_chunks(half: OpenJob) -> None:
    half.spec.write_text(json.dumps(json.loads(half.spec.read_text()) | {"chunk_size": 11}))
    (finding,) = verify(half, Checked())
    assert (finding.path, finding.kind, finding.remove) == ("job.json", Kind.DAMAGE, ())


@pytest.mark.parametrize("damage", ["cut", "empty"])
def test_a_damaged_job_json_is_named_and_can_not_be_repaired(finished: OpenJob, damage: str) -> None:
    DAMAGES[damage](finished.spec)
    (finding,) = verify(finished, Checked())
    assert (finding.path, finding.kind, finding.remedy) == ("job.json", Kind.DAMAGE, "")
    assert "Repair can't" in finding.sentence


def test_no_job_is_an_error(finished: OpenJob) -> None:
    finished.spec.unlink()
    with pytest.raises(JobNotFound):
        list(verify(finished, Checked()))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [builds.INDEX_FILE, builds.IMAGES_FILE])
def test_a_damaged_index_is_named_and_current_with_it(finished: OpenJob, name: str, damage: str) -> None:
    (build,) = builds.build_names(finished)
    DAMAGES[damage](finished.build_dir(build) / name)
    current, finding = verify(finished, Checked())
    assert (current.path, current.kind, current.remove) == ("index/CURRENT", Kind.DAMAGE, (finished.current,))
    assert (finding.path, finding.kind) == (f"index/{build}", Kind.DAMAGE)
    assert finding.remove[0].name == builds.INFO_FILE
    assert name in finding.wrong


@pytest.mark.parametrize("damage", ["cut", "empty"])
def test_a_damaged_description_of_an_index_is_named(finished: OpenJob, damage: str) -> None:
    (build,) = builds.build_names(finished)
    DAMAGES[damage](finished.build_dir(build) / builds.INFO_FILE)
    assert kinds(finished) == {"index/CURRENT": Kind.DAMAGE, f"index/{build}": Kind.DAMAGE}


@pytest.mark.parametrize("content", [b"", b"0007-gone\n", b"../../etc\n", b"\xff\xfe"])
def test_a_damaged_current_is_to_name_the_build_that_is_whole(finished: OpenJob, content: bytes) -> None:
    (build,) = builds.build_names(finished)
    finished.current.write_bytes(content)
    (finding,) = verify(finished, Checked())
    assert (finding.path, finding.kind, finding.promote) == ("index/CURRENT", Kind.DAMAGE, build)


def test_a_current_that_was_deleted_is_to_name_the_build_that_is_whole(finished: OpenJob) -> None:
    (build,) = builds.build_names(finished)
    finished.current.unlink()
    (finding,) = verify(finished, Checked())
    assert (finding.path, finding.kind, finding.promote) == ("index/CURRENT", Kind.LEFTOVER, build)


@pytest.mark.parametrize("change", [{"fingerprint": "other@0"}, {"ntotal": 57}, {"dim": 15}])
def test_a_build_of_another_model_or_size_is_named(finished: OpenJob, change: dict[str, Any]) -> None:
    (build,) = builds.build_names(finished)
    builds.write_info(finished, replace(builds.read_info(finished, build), **change))
    assert kinds(finished) == {"index/CURRENT": Kind.DAMAGE, f"index/{build}": Kind.DAMAGE}


def test_a_build_of_another_format_is_left_for_the_version_that_made_it(finished: OpenJob) -> None:
    (build,) = builds.build_names(finished)
    builds.write_info(finished, replace(builds.read_info(finished, build), format=7))
    finding = found(finished)[f"index/{build}"]
    assert (finding.kind, finding.remove) == (Kind.DAMAGE, ())
    assert "format 7" in finding.wrong


def test_an_index_of_other_embeddings_is_kept(finished: OpenJob) -> None:
    (build,) = builds.build_names(finished)
    builds.write_info(finished, replace(builds.read_info(finished, build), ledger_digest="0" * 64))
    (finished.build_dir(build) / ANSWERS_FILE).unlink()
    (finding,) = verify(finished, Checked())
    assert (finding.path, finding.kind, finding.remove) == ("index/CURRENT", Kind.LEFTOVER, ())
    assert "other embeddings" in finding.wrong


def test_an_unfinished_build_is_left_over_once_it_is_old(finished: OpenJob) -> None:
    unfinished = finished.build_dir("0002-ab12cd34")
    unfinished.mkdir()
    (unfinished / builds.INDEX_FILE).write_bytes(b"half")
    (finding,) = verify(finished, Checked())
    assert (finding.path, finding.kind, finding.remove) == ("index/0002-ab12cd34", Kind.LEFTOVER, ())
    age(unfinished)
    (finding,) = verify(finished, Checked())
    assert finding.remove == (unfinished / builds.INDEX_FILE, unfinished)


def test_a_file_written_aside_is_left_over_once_it_is_old(half: OpenJob) -> None:
    asides = [path.parent / f".{path.name}.{'0' * 32}.tmp" for path in (half.chunk(1, 1), half.img_emb(1), half.spec)]
    for aside in asides:
        aside.write_bytes(b"half")
    assert [finding.remove for finding in verify(half, Checked())] == [()] * 3
    for aside in asides:
        age(aside)
    assert {finding.remove for finding in verify(half, Checked())} == {(aside,) for aside in asides}


def test_files_of_others_are_one_line_and_stay(half: OpenJob) -> None:
    for number in range(12):
        (half.path / f"notes{number}.txt").touch()
    (half.path / "chunks" / "0001" / ".hidden.tmp").touch()
    half.attempt(1, "ab12").touch()
    (finding,) = verify(half, Checked())
    assert (finding.kind, finding.remove) == (Kind.FOREIGN, ())
    assert finding.wrong.startswith("13 files here are none of lookalike's")
    assert finding.wrong.endswith("and 8 more.")


def test_weights_that_the_job_keeps_are_checked(finished: OpenJob) -> None:
    table = json.loads(finished.spec.read_text())
    model = load_manifest(finished).model
    for weights, sha256 in ((b"good", model.weights_sha256), (b"good", None)):
        finished.model_dir.mkdir(exist_ok=True)
        path = finished.model_dir / "m.h5"
        path.write_bytes(weights)
        spec = replace(model, weights="file", weights_file="m.h5", weights_sha256=sha256 or files.sha256_of(path))
        finished.spec.write_text(json.dumps(table | {"model": spec.to_json(), "fingerprint": spec.fingerprint}))
        assert ("model/m.h5" in found(finished)) == (sha256 is not None)
    path.unlink()
    assert "is missing" in found(finished)["model/m.h5"].wrong


def test_the_projection_of_a_fused_model_is_checked(finished: OpenJob) -> None:
    table = json.loads(finished.spec.read_text())
    finished.model_dir.mkdir(exist_ok=True)
    fusion = Fusion(("head",), 3, hashlib.sha256(b"learned").hexdigest())
    spec = replace(load_manifest(finished).model, fusion=fusion)
    finished.spec.write_text(json.dumps(table | {"model": spec.to_json(), "fingerprint": spec.fingerprint}))
    path = finished.model_dir / fusion.projection_file
    path.write_bytes(b"learned")
    name = f"model/{path.name}"
    assert name not in found(finished)
    path.write_bytes(b"learne")
    assert (
        "has another checksum than job.json says: restore it, as it can't be made again" in found(finished)[name].wrong
    )
    path.unlink()
    assert "The projection of the job's fused model is missing" in found(finished)[name].wrong


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a disk not answer for one path, however it is asked."""

    def make(silent: Path) -> None:
        def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(path: Any, *args: Any, **options: Any) -> Any:
                if isinstance(path, str | Path) and Path(path) == silent:
                    raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
                return real(path, *args, **options)

            return call

        for module in ("builtins.open", "os.stat", "os.listdir", "os.scandir", "io.open"):
            room, name = module.split(".")
            target = __import__(room)
            monkeypatch.setattr(target, name, refusing(getattr(target, name)))

    return make


@pytest.mark.parametrize(
    "name",
    [
        "job.json",
        "paths/paths_0001.parquet",
        "chunks/0001/0000.parquet",
        "img_emb/img_emb_0000.npy",
        "metadata/metadata_0000.parquet",
        "errors/errors_0000.parquet",
        "ledger/0000.json",
        "ledger",
        "chunks/0001",
        "index/CURRENT",
        "index/0001-x/index.json",
    ],
)
def test_a_disk_that_does_not_answer_is_a_finding_and_condemns_nothing(
    half: OpenJob, silent: Callable[[Path], None], name: str
) -> None:
    if name.startswith("index"):
        half.build_dir("0001-x").mkdir(parents=True)
        for path in (half.current, half.build_dir("0001-x") / builds.INFO_FILE):
            path.touch()
    silent(half.path / name)
    checked = Checked()
    named = list(verify(half, checked))
    unread = [finding for finding in named if finding.kind is Kind.UNREAD]
    assert unread
    assert all("can't be read now (Input/output error)" in finding.wrong for finding in unread)
    assert not checked.whole
    if not name.startswith("index"):
        assert [finding.path for finding in named if finding.remove or finding.promote] == []


def test_findings_come_while_the_rest_is_still_to_be_read(finished: OpenJob) -> None:
    flip(finished.errors(0))
    flip(finished.errors(2))
    checked = Checked()
    stream = verify(finished, checked)
    assert next(stream).path == "errors/errors_0000.parquet"
    read_so_far = checked.files
    assert [finding.path for finding in stream] == ["errors/errors_0002.parquet"]
    assert read_so_far < checked.files - 4
    assert checked.found == {Kind.DAMAGE: 2}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[JobDir]:
    directories = [tmp_path_factory.mktemp(name) for name in ("finished", "half")]
    return [
        job_of_a_list(directories[0], index=True),
        job_of_a_list(directories[1], sealed=[0], chunks={1: [0, 2]}),
    ]


def content(job: JobDir) -> Any:
    """All that can be read of a job and matters: images, embeddings, the index and what is promoted."""
    job = open_job(job)
    seals = [replace(seal, seconds=0.0, sealed_at=0.0) for seal in ledger.sealed(job)]
    chunks = []
    for partition in job.chunk_partitions():
        for chunk in job.chunks(job.partition(partition)):
            if chunk.number in job.chunk_numbers(partition):
                table, embeddings = checkpoint.read_chunk(job, chunk)
                chunks.append((table.replace_schema_metadata(None).to_pydict(), embeddings.tobytes()))
    return all_paths(job), seals, chunks, builds.current_build(job), job.manifest.model.fingerprint


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[*HealthCheck])
def test_any_flipped_byte_is_named_or_does_not_matter(examples: list[JobDir], data: st.DataObject) -> None:
    job = data.draw(st.sampled_from(examples), "job")
    path = data.draw(st.sampled_from(sorted(path for path in job.path.rglob("*") if path.is_file())), "file")
    before = path.read_bytes()
    position = data.draw(st.integers(0, len(before) - 1), "position")
    expected = content(job)
    flip(path, position, data.draw(st.integers(1, 255), "mask"))
    try:
        if not any(finding.kind is Kind.DAMAGE for finding in verify(job, Checked())):
            assert content(job) == expected
    finally:
        path.write_bytes(before)
