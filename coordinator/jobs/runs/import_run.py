"""A run of `import`: vectors that were made elsewhere become a job, and its index is built."""

from dataclasses import dataclass

from coordinator.jobs.from_vectors import import_vectors
from coordinator.jobs.index_request import NOTHING_TYPED, Typed
from coordinator.jobs.progress import Progress, ProgressReader
from coordinator.jobs.runs.events import Doing, Finished, Said, Tell
from coordinator.jobs.runs.loop import until_indexed
from coordinator.sources.vectors.vectors import Vectors, open_vectors
from shared.job.directory import JobDir
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """What `import` is asked to do.

    `embeddings` is a file or a folder of them; `column` holds the vectors in Parquet files, `path_column` the paths of
    the images. `model_name` and `partition_size` are what was typed, and `wanted` what the index is to be.
    """

    embeddings: str
    job: JobDir
    settings: Settings
    column: str | None = None
    path_column: str | None = None
    model_name: str | None = None
    partition_size: int | None = None
    wanted: Typed = NOTHING_TYPED


def import_(asked: Asked, tell: Tell) -> Progress:
    """Make a job of vectors, embedding nothing, and build its index, or continue where that stood.

    It may be ended at any moment: what is sealed stays, and the same call continues. Raises as `open_vectors`,
    `import_vectors` and `run_job` do.
    """
    vectors = open_vectors(asked.embeddings, asked.column, asked.path_column)
    tell(Said(f"{vectors.rows:,} vectors of {vectors.dim:,} dimensions"))
    if vectors.left_out:
        left_out = ", ".join(f"{name} ({why})" for name, why in vectors.left_out.items())
        tell(Said(f"columns left out: {left_out}"))
    tell(Doing("Importing vectors …"))
    job = import_vectors(
        vectors,
        asked.job,
        asked.settings,
        lambda doing, count: tell(_counted(vectors, doing, count)),
        model_name=asked.model_name,
        partition_size=asked.partition_size,
        # This comes before the work, so that an invalid index request is refused at once, and a kill does not forget
        # it.
        begun=lambda: asked.wanted.request(asked.job, asked.settings),
    )
    progress = ProgressReader(job).read()
    tell(Said(f"{_imported(progress, asked.job)}; model {job.manifest.model.fingerprint}"))
    progress = until_indexed(job, asked.settings, progress, 0, tell)
    tell(Finished(progress))
    return progress


def _counted(vectors: Vectors, doing: str, count: int) -> Doing:
    return Doing(f"{doing.capitalize()} vectors … {count:,} of {vectors.rows:,}")


def _imported(progress: Progress, job: JobDir) -> str:
    failed = (
        f", {progress.failed:,} failed for want of a direction (listed in {job.path}/errors/)"
        if progress.failed
        else ""
    )
    return f"{progress.embedded:,} of {progress.listed:,} vectors imported{failed}"
