"""Find or make exports: models for OpenVINO, each made from Keras once, checked, and kept in the user's cache."""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs

from shared.errors import EngineError, ModelError
from shared.models import ModelSpec
from shared.models.preprocessing import OPAQUE_PREPROCESSING
from shared.processes import stage
from shared.storage import files
from shared.storage.lock import lock

log = logging.getLogger("lookalike.worker")

MODEL = "model.xml"
VALUES = "model.bin"
RECORD = "export.json"
"""The file that is written last: the model of the export, the result of its check, and the sha256 of its files."""

# The version of how exports are made: a change there must raise it, so that no export made otherwise is run.
_MAKING = 1


def find_or_make(spec: ModelSpec, weights: Path | None, cache_dir: Path | None) -> Path:
    """The .xml of the model of `spec` for OpenVINO: from the cache, or made in a process of its own.

    `weights` is the model's checked file, None when Keras finds them. An export that was cut short or changed is made
    again. Several processes may ask at once: one makes it. `cache_dir` None is the user's cache. Raises EngineError
    when it can't be made or kept, or gives other features than Keras; ModelError when Keras can't build the model
    either.
    """
    directory = directory_of(spec, cache_dir)
    try:
        if _trouble(directory):
            directory.parent.mkdir(parents=True, exist_ok=True)
            with _alone(directory) as alone:
                if alone:
                    _remove_leftovers(directory)
                _make_if_need_be(spec, weights, directory)
    except OSError as error:
        raise EngineError(
            f"The model for OpenVINO can't be kept in {directory} ({error.strerror}): free the disk, or set "
            "LOOKALIKE_CACHE_DIR to a directory that can be written to."
        ) from error
    return directory / MODEL


def directory_of(spec: ModelSpec, cache_dir: Path | None) -> Path:
    """The directory of the export of `spec`, which is the same for each precision (OpenVINO applies it when it runs)
    and decoding.
    """
    made_by = f"openvino-{version('openvino').partition('-')[0]}-{_MAKING}"
    return home_of(cache_dir) / "exports" / f"{_exported(spec).fingerprint}-{made_by}"


def _exported(spec: ModelSpec) -> ModelSpec:
    """The spec that an export depends on: it is in float32, takes pixels, however they were decoded, and gives the
    pooled levels of a fused model, whatever a job makes of them.

    It is named as the first exports were, so that none is made again.
    """
    fusion = None if spec.fusion is None else spec.fusion.unprojected
    return replace(spec, precision="f32", preprocessing=OPAQUE_PREPROCESSING, fusion=fusion)


def home_of(cache_dir: Path | None) -> Path:
    """The cache directory: `cache_dir`, or that of this user."""
    return cache_dir or platformdirs.user_cache_path("lookalike")


def trouble(spec: ModelSpec, cache_dir: Path | None) -> str:
    """Why there is no whole export of `spec`; empty when there is one. Raises OSError when the disk does not answer."""
    return _trouble(directory_of(spec, cache_dir))


def _make_if_need_be(spec: ModelSpec, weights: Path | None, directory: Path) -> None:
    trouble = _trouble(directory)  # The process that held the lock may have made it.
    if not trouble:
        return
    if os.path.lexists(directory):
        log.warning("The export %s is damaged (%s); it is made anew.", directory, trouble)
        _remove(directory)
    log.info("Making %s for OpenVINO from Keras, once; it is kept in %s.", spec.fingerprint, directory)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as name:
        aside = Path(name) / "export"
        aside.mkdir()
        found = _made(spec, weights, aside)
        record = {
            "model": spec.to_json(),
            **found,
            "files": {file: files.sha256_of(aside / file) for file in (MODEL, VALUES)},
        }
        (aside / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        try:
            aside.rename(directory)
        except OSError:
            if _trouble(directory):  # Without locks another process may have been first; its export is as good.
                raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _remove_leftovers(directory: Path) -> None:
    """Remove the incomplete files of killed processes for this export."""
    for path in directory.parent.iterdir():
        if path.name.startswith(f".{directory.name}-"):
            _remove(path)


def _trouble(directory: Path) -> str:
    """What is wrong with the export in `directory`; empty when it is whole."""
    try:
        record = json.loads((directory / RECORD).read_bytes())
        made_of = _exported(ModelSpec.from_json(record["model"])).fingerprint
        if not directory.name.startswith(f"{made_of}-"):
            return f"it was made of {made_of}"
        for file in (MODEL, VALUES):
            if files.sha256_of(directory / file) != record["files"][file]:
                return f"{file} is not what was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (NotADirectoryError, IsADirectoryError) as error:
        return f"{Path(error.filename).name} is no file of an export"
    except (ValueError, LookupError, TypeError, AttributeError, ModelError):
        return f"{RECORD} can't be read"
    return ""


@contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    """Wait until no other process makes this export; yields whether that is certain."""
    with open(directory.parent / f"{directory.name}.lock", "w") as file:
        yield lock(file) is not None  # Some mounts know no locks; there two processes may do the same work.


def _made(spec: ModelSpec, weights: Path | None, directory: Path) -> dict[str, Any]:
    """Have the export written into `directory`; returns how far it is from Keras.

    A process of its own does this, because TensorFlow gives back none of the memory that building a model takes, and
    this process may serve for days.
    """
    request = {"spec": spec.to_json(), "weights": weights and str(weights.absolute()), "directory": str(directory)}
    # The export needs no GPU, and must not take memory from processes that do.
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    with stage.speaking(
        "workers.models.export_process",
        [json.dumps(request)],
        what="The process that was to make the model for OpenVINO",
        environment=environment,
        ended=EngineError,
    ) as said:
        return next(answer["result"] for answer in said)
