"""The models that this process has loaded: loading one takes seconds, so the last used stay."""

import logging
import threading
from collections import OrderedDict
from pathlib import Path

from shared.models import ModelSpec
from shared.settings import Settings
from workers.embedder import Embedder, load_embedder

log = logging.getLogger("lookalike.worker")

_KEPT = 2
_loaded: OrderedDict[tuple[str, int | None, str], Embedder] = OrderedDict()
_lock = threading.Lock()


def loaded_embedder(spec: ModelSpec, model_dir: Path, settings: Settings) -> Embedder:
    """The embedder of a job's model, loaded at first use; raises ModelError when it can't be."""
    with _lock:
        key = (spec.fingerprint, settings.batch_size, settings.engine)
        if key not in _loaded:
            log.info("Loading the model %s.", spec.fingerprint)
            _loaded[key] = load_embedder(
                spec, model_dir, settings.batch_size, engine=settings.engine, cache_dir=settings.cache_dir
            )
        _loaded.move_to_end(key)
        while len(_loaded) > _KEPT:
            _loaded.popitem(last=False)
        return _loaded[key]
