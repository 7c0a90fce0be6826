"""The benchmark of the parts of a search: what it counts is what the search does, and its tables quote its figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.parts import once, tables
from benchmarks.parts.once import BATCH, PARTS, counted, cpu_parts, measured
from benchmarks.support.queries import K, Queries
from shared.errors import UsageError
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.local.job_files import JobFiles
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, clustered, make_job
from workers.merge.build import merge
from workers.search.searcher import Searcher
from workers.vectors import embeddings, rerank
from workers.vectors.ann import faiss_index, ivf_lists
from workers.vectors.ann.layers import bare_ivf
from workers.vectors.embeddings import StoredEmbeddings
from workers.vectors.exact import exact_search

pytestmark = pytest.mark.slow

VECTORS = clustered(130, 24, seed=5)


def merged(made: MadeJob, request: IndexRequest) -> str:
    write_index_request(made.job, request)
    return merge(made.job, Settings(), UNWATCHED).build


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeJob:
    return make_job(tmp_path_factory.mktemp("parts") / "job", clustered(1_500, 24), partition_size=600, chunk_size=600)


@pytest.fixture(scope="module")
def build(made: MadeJob) -> str:
    return merged(made, IndexRequest("PCAR16,IVF32,PQ8x4fs", recall=0.9))


@pytest.fixture
def queries(made: MadeJob) -> Queries:
    truth = exact_search(StoredEmbeddings([made.embeddings], made.ids, 24), VECTORS, K).ids
    return Queries(VECTORS, len(VECTORS), np.empty(0, np.int64), truth)


def test_what_is_counted_is_what_the_search_reads(made: MadeJob, build: str) -> None:
    searcher = Searcher.open(JobFiles.of(made.job), build)
    bare = bare_ivf(searcher._index)
    assert bare is not None
    (pca,), ivf = bare
    sizes = np.array([ivf.invlists.list_size(number) for number in range(32)])
    width = searcher.width
    near = ivf_lists.nearest(ivf, pca.apply(VECTORS), width.nprobe, width.list_margin).lists
    read = [row[row >= 0] for row in near]
    candidates = [
        faiss_index.candidates(
            searcher._index,
            vector[None],
            width.depth,
            width.nprobe,
            list_margin=width.list_margin,
            depth_ratio=width.depth_ratio,
            k=K,
        )
        for vector in VECTORS
    ]
    assert counted(searcher, VECTORS, sizes) == {
        "lists": round(sum(map(len, read)) / len(VECTORS), 1),
        "codes": round(sum(int(sizes[row].sum()) for row in read) / len(VECTORS), 1),
        "rows": round(sum(int((found >= 0).sum()) for found in candidates) / len(VECTORS), 1),
    }


@pytest.mark.parametrize("batch", [1, BATCH])
def test_each_part_takes_time_and_the_clock_changes_no_answer(
    made: MadeJob, build: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher = Searcher.open(JobFiles.of(made.job), build)
    before = searcher.search_many(VECTORS[:BATCH], K)
    functions = [
        faiss_index.reduced_queries,
        ivf_lists.nearest,
        ivf_lists.search,
        StoredEmbeddings.gathered,
        rerank.simd_cosines,
        embeddings.cosines,
    ]
    asked: list[Any] = []
    search_many = Searcher.search_many

    def kept(self: Searcher, *given: Any) -> Any:
        asked.append(search_many(self, *given))
        return asked[-1]

    monkeypatch.setattr(Searcher, "search_many", kept)
    parts = cpu_parts(searcher, VECTORS[:BATCH], batch)
    assert [hits for one in asked for hits in one] == before
    assert set(parts) == {*PARTS, "rest", "all"}
    assert all(parts[part] > 0 for part in PARTS)
    assert parts["rest"] == pytest.approx(parts["all"] - sum(parts[part] for part in PARTS), abs=0.001)
    after = [
        faiss_index.reduced_queries,
        ivf_lists.nearest,
        ivf_lists.search,
        StoredEmbeddings.gathered,
        rerank.simd_cosines,
        embeddings.cosines,
    ]
    assert after == functions


def test_narrower_searches_read_less_and_each_says_its_recall(
    made: MadeJob, build: str, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "READ_BYTES", 1 << 16)
    found = measured(made.job, build, queries)
    widths = found["widths"]
    read = [width["codes"] for width in widths]
    assert read == sorted(read, reverse=True)
    assert read[-1] < read[0]
    hits = Searcher.open(JobFiles.of(made.job), build).search_many(VECTORS, K)
    right = [np.isin([hit.id for hit in one], true).mean() for one, true in zip(hits, queries.truth, strict=True)]
    assert widths[0]["recall_at_10"] == round(float(np.mean(right)), 4) >= widths[-1]["recall_at_10"]
    assert [[way["batch"] for way in width["ways"]] for width in widths] == [[1, BATCH]] * 3
    assert (found["code_bytes"], found["row_bytes"], found["table_bytes"]) == (4, 48, 4 * 16 * (24 + 32))
    assert all(rate > 0 for rate in found["read_bytes_per_second"].values())


def test_an_index_without_lists_and_too_few_queries_have_no_parts(tmp_path: Path, queries: Queries) -> None:
    flat = make_job(tmp_path / "job", listed=60)
    build = merged(flat, IndexRequest("flat"))
    with pytest.raises(UsageError, match="no lists"):
        measured(flat.job, build, queries)
    with pytest.raises(UsageError, match=r"10 queries are no batch of 64"):
        cpu_parts(Searcher.open(JobFiles.of(flat.job), build), VECTORS[:10], BATCH)


def test_the_tables_say_what_a_query_costs_and_what_memory_would_take() -> None:
    cpu = dict.fromkeys(PARTS, 0.125) | {"scan": 0.5, "rest": 0.25, "all": 1.25}
    way = {"batch": 1, "call_ms": {"p50": 1.5, "p99": 2.5}, "queries_per_second": 640.4, "cpu_ms": cpu}
    batched = way | {"batch": 64, "cpu_ms": cpu | {"scan": 0.25, "all": 1.0}}
    width = {"lists": 240.4, "codes": 200_000.0, "rows": 100.0, "recall_at_10": 0.9899, "ways": [way, batched]}
    rates = {"1": 10_000_000_000, "2": 15_000_000_000}
    found = {"rows": 2_000_000, "code_bytes": 64, "row_bytes": 3_584, "table_bytes": 4_000_000}
    sizes = [found | {"read_bytes_per_second": rates, "widths": [width]}]
    first, second = tables.time_table({"sizes": sizes}).splitlines()[2:]
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[:6] == ["2,000,000", "240", "0.990", "1", "1.50 / 2.50", "640"]
    assert cells[6:] == ["0.125", "0.125", "0.500", "0.125", "0.125", "0.250", "**1.250**"]
    assert "**1.000**" in second
    bytes_of = [cell.strip() for cell in tables.bytes_table({"sizes": sizes}).splitlines()[2].strip("|").split("|")]
    assert bytes_of[:6] == ["2,000,000", "240", "200,000", "12.8 MB", "358.4 kB", "4.0 MB"]
    assert bytes_of[6:] == ["1.72", "25.60 GB", "51.20 GB", "10.00 GB", "15.00 GB"]
