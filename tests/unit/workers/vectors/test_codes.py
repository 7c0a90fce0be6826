"""Codes stand for embeddings: a byte a value, near enough, and read as embeddings are."""

from pathlib import Path

import numpy as np
import pytest

from shared.job.partition import sealing
from shared.vectors import unit as of_length_1
from tests.support.make_job import clustered, unit
from workers.vectors.codes import CodedEmbeddings, decode, encode


@pytest.mark.parametrize("values", [clustered(500, 64), np.random.default_rng(1).normal(size=(500, 64))])
def test_cosines_by_codes_are_near_the_true_ones(values: np.ndarray) -> None:
    embeddings = unit(values).astype(np.float16)
    codes = encode(embeddings)
    assert (codes.dtype, codes.shape) == (np.int8, (500, 64))
    assert np.all(np.abs(codes).max(axis=1) == 127)
    true = of_length_1(embeddings) @ of_length_1(embeddings[:50]).T
    found = decode(codes) @ of_length_1(embeddings[:50]).T
    assert 0 < np.abs(found - true).max() < 0.01
    assert np.allclose(np.linalg.norm(decode(codes), axis=1), 1, atol=1e-6)


def test_all_that_reads_embeddings_reads_codes(tmp_path: Path) -> None:
    codes = encode(unit(clustered(100, 32)).astype(np.float16))
    parts = []
    for number, part in enumerate((codes[:40], codes[40:40], codes[40:])):
        path = tmp_path / f"{number}.npy"
        path.write_bytes(sealing.npy_header(len(part), 32, CodedEmbeddings.DTYPE) + part.tobytes())
        assert np.array_equal(np.load(path), part)
        parts.append(sealing.open_embeddings(path, len(part), 32, CodedEmbeddings.DTYPE))
    ids = np.arange(100) * 3
    stored = CodedEmbeddings(parts, ids, 32)
    stored.expect_scattered_reads()
    rows = np.array([99, 0, 39, 40, 3])
    expected = decode(codes)
    assert stored.rows(rows).dtype == np.float16
    assert np.allclose(stored.rows(rows).astype(np.float32), expected[rows], atol=1e-3)
    assert np.array_equal(stored.gathered(rows), stored.rows(rows))
    whole = np.concatenate([block for _, block in stored.blocks(7)])
    assert np.array_equal(whole, stored.rows(np.arange(100)))
    some = stored.only(np.array([5, 60]))
    assert np.array_equal(some.rows(np.array([1, 0])), stored.rows(np.array([60, 5])))
    query = expected[17]
    assert stored.cosines(np.array([17, 18]), query)[0] == pytest.approx(1, abs=1e-3)
