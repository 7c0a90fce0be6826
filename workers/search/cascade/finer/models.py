"""Find and load the finer model that a search asks for, where this worker may run it."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from cachetools import LRUCache

from shared.errors import FingerprintMismatch, ModelError, QueryError
from shared.images.paths import expanded
from shared.messages.finer import Finer
from shared.models import MODEL_FILES, ModelSpec, resolve_model
from shared.settings import ANY_MODEL, Settings
from shared.storage.stores import any_path
from workers.models.embedder import Embedder, load_embedder

_KEPT: Final = 1  # One takes some hundred megabytes.
_OPTIONS: Final = {"model_input": "finer_input", "model_output": "finer_output"}


class Model(NamedTuple):
    """A finer model: its description, and its embedder."""

    spec: ModelSpec
    embedder: Embedder


class FinerModels:
    """The finer model that was used last, as loading one takes seconds; several threads may ask at once."""

    def __init__(self, settings: Settings, load: Callable[..., Embedder] = load_embedder) -> None:
        self._settings, self._load = settings, load
        self._specs: LRUCache[object, ModelSpec] = LRUCache(8)
        self._loaded: LRUCache[str, Embedder] = LRUCache(_KEPT)
        self._lock = threading.Lock()

    def model(self, asked: Finer, of_job: ModelSpec) -> Model:
        """The model that is asked for, loaded if need be.

        Raises QueryError where this worker may not run it, or it is that of the job, FingerprintMismatch where its file
        is another one than the one who asks has, and ModelError for one that can't be used.
        """
        wanted = self._allowed(asked)
        with self._lock:
            spec = self._described(wanted)
            if asked.sha256 is not None and asked.sha256 != spec.weights_sha256:
                raise FingerprintMismatch(
                    f"The file {wanted.model} of the query worker is another one than that of the search: it has the "
                    f"SHA-256 {str(spec.weights_sha256)[:12]}…, and {asked.sha256[:12]}… was asked for. Put the same "
                    "file there, or name the model of the worker alone."
                )
            if _identity(spec) == _identity(of_job):
                raise QueryError(
                    f"The finer model {wanted.model} is the model of the job, {of_job.fingerprint}, and would say the "
                    "same again: name another one, or search without."
                )
            if spec.fingerprint not in self._loaded:
                self._loaded[spec.fingerprint] = self._load(
                    spec,
                    Path(),
                    self._settings.batch_size,
                    engine=self._settings.engine,
                    cache_dir=self._settings.cache_dir,
                    weights=_file(wanted.model) if wanted.is_file else None,
                )
            return Model(spec, self._loaded[spec.fingerprint])

    def _allowed(self, asked: Finer) -> Finer:
        """The model as this worker has it; QueryError where its settings do not name it."""
        own = self._settings.finer_model
        if own is None:
            raise QueryError(
                f"The query worker may run no finer model, and {asked.model} was asked for: start it with the setting "
                f"finer_model={_shown(asked)}, or search without."
            )
        if own == ANY_MODEL:
            return asked
        if asked.model != own and not (asked.is_file and Path(asked.model).name == Path(own).name):
            raise QueryError(
                f"The query worker runs the finer model {own} alone (its setting finer_model), and {asked.model} was "
                "asked for: ask for that one, or start another worker."
            )
        words = self._settings.finer_input, self._settings.finer_output
        for told, ours, name in zip((asked.input, asked.output), words, ("finer_input", "finer_output"), strict=True):
            if told is not None and told != ours:
                raise QueryError(
                    f"The query worker uses {own} with its own setting {name}, {ours or 'unset'}, and {told} was asked "
                    "for: leave that out."
                )
        return Finer(own, None, *words)

    def _described(self, wanted: Finer) -> ModelSpec:
        path = _file(wanted.model) if wanted.is_file else None
        stamp = None
        if path is not None and path.is_file():
            status = path.stat()
            stamp = status.st_ino, status.st_mtime_ns, status.st_size
        key = wanted, stamp
        if key not in self._specs:
            try:
                self._specs[key] = resolve_model(wanted.model, model_input=wanted.input, model_output=wanted.output)
            except ModelError as error:
                if error.remedy is None:
                    raise
                given = {_OPTIONS.get(name, name): value for name, value in error.remedy.given.items()}
                raise ModelError(error.found, remedy=replace(error.remedy, given=given)) from None
        return self._specs[key]


def _file(text: str) -> Path:
    return expanded(any_path(text))


def _shown(asked: Finer) -> str:
    return f"PATH/{Path(asked.model).name}" if asked.model.endswith(MODEL_FILES) else asked.model


def _identity(spec: ModelSpec) -> tuple[object, ...]:
    """What makes a model, however its images are decoded and whatever it computes in."""
    return spec.name, spec.weights, spec.weights_sha256, spec.input, spec.output
