import gc
import mmap
import resource
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.errors import CorruptFile, QueryError
from shared.job.local.job_files import JobFiles
from shared.job.partition import ledger
from shared.vectors import widen
from tests.support.make_job import MadeJob, image_path, make_job, unit
from workers.vectors.embeddings import StoredEmbeddings
from workers.vectors.image_list import IMAGES_SCHEMA, Images, sealed_images, write_images

FAILED = {0, 7, 24, *range(25, 50), 59}  # The first and last image, and a whole partition.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeJob:
    return make_job(tmp_path_factory.mktemp("stored") / "job", listed=110, failed=FAILED)


@pytest.fixture(scope="module")
def stored(made: MadeJob) -> StoredEmbeddings:
    return StoredEmbeddings.open(JobFiles.of(made.job), list(ledger.sealed(made.job)))


def test_widening_is_exact_for_every_finite_float16() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)].reshape(2, -1)
    wide = widen(finite)
    assert wide.dtype == np.float32
    assert np.array_equal(wide, finite.astype(np.float32))
    assert np.array_equal(np.signbit(wide), np.signbit(finite))


def test_all_embeddings_are_there_under_their_ids(made: MadeJob, stored: StoredEmbeddings) -> None:
    assert (len(stored), stored.dim) == (110 - len(FAILED), 16)
    assert np.array_equal(stored.ids, made.ids)
    assert np.array_equal(stored.rows(np.arange(len(stored))), made.embeddings)


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_rows_come_in_the_order_asked_for(data: st.DataObject, made: MadeJob, stored: StoredEmbeddings) -> None:
    rows = data.draw(hnp.arrays(np.int64, st.integers(0, 40), elements=st.integers(0, len(stored) - 1)))
    assert np.array_equal(stored.rows(rows), made.embeddings[rows])


@pytest.mark.parametrize("row", [-1, 110 - len(FAILED)])
def test_a_row_beyond_the_embeddings_is_refused(stored: StoredEmbeddings, row: int) -> None:
    with pytest.raises(IndexError, match=str(row)):
        stored.rows(np.array([3, row]))


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_blocks_hold_each_row_once_in_order_without_a_copy(made: MadeJob, stored: StoredEmbeddings, size: int) -> None:
    blocks = [(first, block.copy(), block.flags.writeable, len(block)) for first, block in stored.blocks(size)]
    assert np.array_equal(np.concatenate([block for _, block, _, _ in blocks]), made.embeddings)
    assert [first for first, *_ in blocks] == [0, *np.cumsum([length for *_, length in blocks])[:-1]]
    assert max(length for *_, length in blocks) == min(size, 25)
    assert not any(writeable for _, _, writeable, _ in blocks)


def test_ids_lead_to_rows_and_failed_ones_are_named(made: MadeJob, stored: StoredEmbeddings) -> None:
    assert np.array_equal(made.ids[stored.rows_of(np.array([58, 1, 109]))], [58, 1, 109])
    for absent in (0, 30, 59, 110):
        with pytest.raises(QueryError, match=f"image id {absent} has no embedding"):
            stored.rows_of(np.array([1, absent]))


def test_cosines_are_the_cosines_of_the_stored_values(made: MadeJob, stored: StoredEmbeddings) -> None:
    stored.expect_scattered_reads()
    query = unit(np.random.default_rng(5).normal(size=16))
    rows = np.array([70, 3, 3, 41])
    truth = made.embeddings[rows].astype(np.float64)
    truth = truth @ query / np.linalg.norm(truth, axis=1)
    assert np.allclose(stored.cosines(rows, query), truth, atol=1e-6)
    own = unit(made.embeddings[3].astype(np.float64))
    assert stored.cosines(np.array([3]), own)[0] == pytest.approx(1.0, abs=1e-6)
    assert stored.cosines(np.array([3]), own)[0] <= 1.0


def test_equal_embeddings_get_equal_cosines_wherever_they_lie() -> None:
    rng = np.random.default_rng(1)
    vectors = unit(rng.normal(size=(501, 333))).astype(np.float16)
    vectors[rng.permutation(501)[:100]] = vectors[0]
    twins = np.flatnonzero((vectors == vectors[0]).all(axis=1))
    stored = StoredEmbeddings([vectors], np.arange(501), 333)
    cosines = stored.cosines(np.arange(501), unit(rng.normal(size=333)))
    assert len(np.unique(cosines[twins])) == 1
    assert len(np.unique(cosines)) > 300


def test_an_embeddings_file_cut_short_is_refused(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    path = made.job.img_emb(1)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CorruptFile, match="img_emb_0001"):
        StoredEmbeddings.open(JobFiles.of(made.job), list(ledger.sealed(made.job)))


@pytest.mark.parametrize("ids", [np.arange(59), np.arange(60)[::-1], np.repeat(np.arange(30), 2)])
def test_ids_that_do_not_fit_the_embeddings_are_refused(tmp_path: Path, ids: np.ndarray) -> None:
    made = make_job(tmp_path / "job")
    with pytest.raises(CorruptFile, match=f"60 embeddings; their {len(ids)} image ids"):
        StoredEmbeddings.open(JobFiles.of(made.job), list(ledger.sealed(made.job)), ids=ids)


def test_images_are_found_by_row_over_all_partitions(tmp_path: Path, made: MadeJob) -> None:
    path = tmp_path / "images.arrow"
    write_images(path, sealed_images(made.job, list(ledger.sealed(made.job))))
    images = Images.open(path)
    assert np.array_equal(images.ids, made.ids)
    assert images.paths(np.arange(len(made.ids))[::-1]) == [image_path(image) for image in made.ids[::-1]]
    with pa.ipc.open_file(str(path)) as reader:
        assert reader.num_record_batches == made.job.partition_count


@pytest.mark.parametrize("content", [b"", b"no Arrow at all, but longer than its magic"])
def test_a_file_that_lists_no_images_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images.arrow"
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"images\.arrow"):
        Images.open(path)


def test_an_arrow_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.arrow"
    schema = pa.schema([IMAGES_SCHEMA.field(0)])
    with pa.ipc.new_file(str(path), schema) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist([{"id": 1}], schema))
    with pytest.raises(CorruptFile, match=r"columns are \['id'\]"):
        Images.open(path)


def test_pages_let_go_of_are_read_again(made: MadeJob, stored: StoredEmbeddings) -> None:
    rows = np.arange(5, 40)
    before = stored.rows(rows)
    stored.release()
    assert np.array_equal(stored.rows(rows), before)
    assert np.array_equal(before, made.embeddings[5:40])


def test_rows_are_asked_for_ahead_after_the_disk_was_waited_for_and_not_because_the_machine_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Noted(mmap.mmap):
        """A mapping that notes of which places it was said that they are read soon."""

        def madvise(self, option: int, start: int = 0, length: int = 0) -> None:
            super().madvise(option, start, length)
            if option == mmap.MADV_WILLNEED:
                asked.append(start)

    made = make_job(tmp_path / "job")
    monkeypatch.setattr(mmap, "mmap", Noted)
    stored = StoredEmbeddings.open(JobFiles.of(made.job), list(ledger.sealed(made.job)))
    waits = iter([0, 0, 0, 0, 3, 3, 3])
    monkeypatch.setattr(resource, "RUSAGE_THREAD", 1, raising=False)  # Where the system does not say, it does now.
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_majflt=next(waits)))

    def gathered(slow: bool) -> int:
        """How many rows were asked for ahead until now."""
        with monkeypatch.context() as patch:
            clock = iter([0.0, 1.0 if slow else 0.0])
            patch.setattr(time, "perf_counter", lambda: next(clock))
            found = stored.gathered(np.arange(4))
        assert np.array_equal(found, made.embeddings[:4])
        return len(asked)

    assert gathered(slow=False) == 4  # No one knows yet.
    assert gathered(slow=True) == 4
    assert gathered(slow=True) == 4  # The disk was waited for now.
    assert gathered(slow=True) == 8
    assert gathered(slow=False) == 12
    assert next(waits, None) is None


def test_mappings_are_let_go_of_with_the_embeddings(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.arange(40, dtype=np.float16).reshape(10, 4))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    watched = weakref.ref(mapped)
    stored = StoredEmbeddings([mapped, np.empty((0, 4), np.float16)], np.arange(10), 4)
    del mapped
    assert stored.rows(np.array([9, 0, 9]))[:, 0].tolist() == [36, 0, 36]
    assert watched() is not None
    gc.disable()  # What only a search for rings would find does not count.
    try:
        del stored
        assert watched() is None
    finally:
        gc.enable()
