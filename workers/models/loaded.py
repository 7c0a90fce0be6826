"""Keep the models that this process used last, because loading one takes seconds."""

import logging
import threading
from pathlib import Path

from cachetools import LRUCache

from shared.errors import CorruptFile, ModelError
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.models import ModelSpec
from shared.models.fusion import known_levels
from shared.settings import Settings
from workers.models import engines
from workers.models.embedder import Embedder, load_embedder

log = logging.getLogger("lookalike.worker")

_KEPT = 2
_loaded: LRUCache[tuple[str, int | None, str], Embedder] = LRUCache(_KEPT)
_lock = threading.Lock()


def loaded_embedder(spec: ModelSpec, model_dir: Path, settings: Settings) -> Embedder:
    """The embedder of a job's model, loaded at first use; raises ModelError when it can't be loaded."""
    with _lock:
        key = (spec.fingerprint, settings.batch_size, settings.engine)
        if key not in _loaded:
            log.info("Loading the model %s.", spec.fingerprint)
            files = JobFiles.of(JobDir(model_dir.parent), settings)
            _loaded[key] = load_embedder(
                spec,
                model_dir,
                settings.batch_size,
                engine=settings.engine,
                cache_dir=settings.cache_dir,
                weights=_weights(files, spec, model_dir) if spec.weights_file else None,
                projection=_projection(files, spec, model_dir),
            )
        return _loaded[key]


def fusable_levels(spec: ModelSpec, model_dir: Path, settings: Settings) -> tuple[str, ...]:
    """The levels of a job's model that can be fused; ModelError when it shows no two, or can't be built."""
    if (known := known_levels(spec.name)) is not None:
        return known
    files = JobFiles.of(JobDir(model_dir.parent), settings)
    return engines.levels(spec, _weights(files, spec, model_dir) if spec.weights_file else None)


def _weights(files: JobFiles, spec: ModelSpec, model_dir: Path) -> Path:
    """A job's weights on this machine; ModelError when those of a store are not those that it was made with."""
    path = model_dir / str(spec.weights_file)
    try:
        return files.local(path, {"sha256": spec.weights_sha256}, check=True)
    except (FileNotFoundError, CorruptFile):
        raise ModelError(
            f"The weights {path} are missing, or not those that the job was made with: put these back."
        ) from None


def _projection(files: JobFiles, spec: ModelSpec, model_dir: Path) -> Path | None:
    """The projection of a fused model on this machine; ModelError when that of a store is not the job's."""
    if spec.fusion is None or spec.fusion.projection_sha256 is None:
        return None
    path = model_dir / spec.fusion.projection_file
    try:
        return files.local(path, {"sha256": spec.fusion.projection_sha256}, check=True)
    except (FileNotFoundError, CorruptFile):
        raise ModelError(
            f"The projection {path}, which makes the embeddings of this job, is missing, or not the one that it was "
            "made with: restore it from a copy of the job."
        ) from None
