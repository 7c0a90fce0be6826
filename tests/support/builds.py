"""Builds that no merge made: what they say of themselves, and one promoted in a job."""

from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.opened import OpenJob
from shared.job.partition import ledger

DIGEST = "ab12cd34" + "0" * 56


def info_of(build: str, files: dict[str, dict[str, object]] | None = None, recall: float | None = 0.993) -> IndexInfo:
    """What a build says of itself: an IVF-PQ index of 123 embeddings."""
    return IndexInfo(
        build=build,
        type="IVF-PQ",
        factory="PCAR8,IVF4,PQ4x4fs",
        ntotal=123,
        dim=16,
        fingerprint="made-up@0123",
        ledger_digest=DIGEST,
        nlist=4,
        nprobe=2,
        m=4,
        nbits=4,
        rerank_depth=200,
        recall_at_10=recall,
        recall_queries=50,
        p50_ms=0.5,
        p99_ms=1.5,
        seconds={"training": 1.0},
        built_at=1_700_000_000.0,
        files=files or {},
    )


def build(job: OpenJob, name: str = "0001-ab12cd34") -> IndexInfo:
    """Promote an index that says it covers what is sealed now."""
    info = IndexInfo(
        build=name, type="Flat", factory="Flat", ntotal=90, dim=16, fingerprint=job.manifest.model.fingerprint,
        ledger_digest=builds.ledger_digest(ledger.sealed(job)), nlist=0, nprobe=0, m=0, nbits=0,
        rerank_depth=200, recall_at_10=1.0, recall_queries=50, p50_ms=0.25, p99_ms=0.5, seconds={}, built_at=0.0,
        files={},
    )  # fmt: skip
    job.build_dir(name).mkdir(parents=True)
    builds.write_info(job, info)
    builds.promote(job, name)
    return info
