"""Make one export in a process of its own: build the model in Keras, convert it, and compare the two."""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import EngineError
from shared.models import ModelSpec
from shared.processes import stage
from workers.models.exports import MODEL
from workers.models.openvino_backbone import OpenVinoBackbone, openvino
from workers.models.pictures import made_pictures

_IMAGES = 8
_LEAST_COSINE = 0.99999
_MOST_APART = 1e-5  # The largest difference in any one value, between vectors of length 1.


def export(spec: ModelSpec, weights: Path | None, directory: Path) -> dict[str, Any]:
    """Write the model of `spec` for OpenVINO into `directory`; returns the versions and the result of the check.

    Raises EngineError when OpenVINO can't convert it or gives other features, ModelError when Keras can't build it.
    """
    from workers.models import keras_backbone

    model = keras_backbone.build_model(spec, weights)
    keras = keras_backbone.KerasBackbone(model, spec.image_size, _IMAGES, spec.name)
    try:
        converted = _one_output(openvino.convert_model(keras_backbone.traced(model, spec.image_size)))
        # The scaling is in the model; a batch goes in as it was decoded, a quarter of its size in float32.
        prepared = openvino.preprocess.PrePostProcessor(converted)
        prepared.input().tensor().set_element_type(openvino.Type.u8)
        openvino.save_model(prepared.build(), directory / MODEL, compress_to_fp16=False)
    except EngineError:
        raise
    except Exception as error:  # Layers of a custom model that OpenVINO lacks raise errors of many kinds.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise EngineError(f"OpenVINO can't take over the model {spec.name} ({lines[-1].strip()[:200]}).") from error
    found = OpenVinoBackbone(directory / MODEL, spec.image_size, _IMAGES, "f32")
    images = made_pictures(_IMAGES, spec.image_size)
    return _compared(spec.name, keras.forward(images), found.forward(images))


def _one_output(model: Any) -> Any:
    """The model with only its own output. Every swish in it adds others, which cost gigabytes and most of the rate."""
    results = [output for output in model.outputs if len(output.partial_shape) == 2]
    named = [output for output in results if "Identity:0" in output.get_names()]
    chosen = named or results
    if len(chosen) != 1:
        raise EngineError(f"OpenVINO finds {len(chosen)} outputs [n, dimensions] in the model; expected one.")
    return openvino.Model(chosen, model.get_parameters(), "features")


def _compared(name: str, keras: NDArray[np.float32], found: NDArray[np.float32]) -> dict[str, Any]:
    if keras.shape != found.shape:
        raise EngineError(f"OpenVINO gives {list(found.shape)} for the model {name}, and Keras {list(keras.shape)}.")
    with np.errstate(invalid="ignore", divide="ignore"):
        ours, theirs = (
            values / np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True) for values in (found, keras)
        )
        cosine, apart = float((ours * theirs).sum(axis=1).min()), float(np.abs(ours - theirs).max())
    # The comparison is negated so that NaN, the result of features without a direction, is refused too.
    if not (cosine >= _LEAST_COSINE and apart <= _MOST_APART):
        raise EngineError(
            f"OpenVINO gives other features for the model {name} than Keras (cosine {cosine:.6f}, expected at least "
            f"{_LEAST_COSINE}; values up to {apart:.1e} apart, expected {_MOST_APART:.0e} at most)."
        )
    made_with = {package: version(package) for package in ("keras", "openvino")}
    return {"made_with": made_with, "checked": {"images": _IMAGES, "least_cosine": cosine, "most_apart": apart}}


def main() -> None:
    """Make the export that the JSON argument asks for, and report how far it is from Keras."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Output of a library must not get in between.
    sys.stdout = answers
    request = json.loads(sys.argv[1])
    stage.end_with_parent()

    def run() -> None:
        weights = request["weights"]
        made = export(ModelSpec.from_json(request["spec"]), weights and Path(weights), Path(request["directory"]))
        stage.say(result=made)

    status = stage.exit_status(run)
    sys.stderr.flush()
    os._exit(status)  # Nothing is left to do, and TensorFlow's threads take long to end.


if __name__ == "__main__":
    main()
