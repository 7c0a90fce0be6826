"""Find the model that the settings ask for; an ONNX file is tried on pictures before a job is made of it."""

import os
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from shared.errors import EngineError, ModelError
from shared.images.paths import expanded
from shared.models import DEFAULT_MODEL, MODEL_FILES, ModelSpec, resolve_model
from shared.models.preprocessing import REDUCED
from shared.processes import stage
from shared.settings import Settings, without_settings
from shared.storage.stores import StorePath, any_path

TRIAL_SECONDS = 600.0
"""How long it may take: OpenVINO compiles the largest models in a minute or two."""


def asked_model(settings: Settings) -> ModelSpec:
    """The model that the settings ask for a new job.

    Raises ModelError as `resolve_model` does, and for a file that is not on this machine.
    """
    name = settings.model or DEFAULT_MODEL
    if name.endswith(MODEL_FILES) and isinstance(any_path(name), StorePath):
        raise ModelError(f"The model {any_path(name)} is in a store: download it, and name the file on this machine.")
    return resolve_model(
        name,
        settings.weights,
        settings.precision or "f32",
        settings.decode or REDUCED,
        settings.model_input,
        settings.model_output,
    )


def tried(spec: ModelSpec, settings: Settings) -> ModelSpec:
    """The model of `spec` with the dimensions that it was found to have; any but an ONNX file is as it is.

    Where OpenVINO is not installed nothing is tried: the workers do so when they load it. Raises ModelError when the
    model can't be run, or what it gives can't be embeddings.
    """
    if not spec.is_onnx or find_spec("openvino") is None:
        return spec
    file = expanded(any_path(settings.model or ""))

    def told(words: dict[str, Any]) -> None:
        """It has nothing to say on the way."""

    found = stage.result_of(
        "workers.models.onnx.trial_process",
        [],
        told,
        what=f"The process that tries the model {file}",
        request={"spec": spec.to_json(), "file": str(file.absolute())},
        environment=without_settings(os.environ) | replace(settings, broker_url=None).to_environment(),
        seconds=TRIAL_SECONDS,
        ended=EngineError,
    )
    return replace(spec, dim=found["dim"])
