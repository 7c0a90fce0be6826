"""The shapes of a .keras file, read from its description of itself: which images it takes, what comes out."""

import json
import zipfile
from pathlib import Path
from typing import Any

from shared.errors import ModelError
from shared.storage import files


def shapes_of(path: Path) -> tuple[int | None, int | None]:
    """Image size and, where the last layer is Dense, dimensions of a `.keras` file, read from its config.json.

    The size is None where the model takes images of any. Raises ModelError for a file that takes no square RGB image.
    """
    try:
        with files.opened(path) as file, zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
        layers = config["config"].get("layers", [])
        shapes = [layer["config"]["batch_shape"] for layer in layers if layer["class_name"] == "InputLayer"]
        # A model of a custom class lists no layers, but Keras notes the input that it was built for.
        shapes = shapes or [config["build_config"]["input_shape"]]
        _, height, width, channels = shapes[0]
    except (
        zipfile.BadZipFile,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise ModelError(
            f"The shape of the images that {path} takes can't be read from it ({error!r}); expected a file that "
            "Keras 3 wrote with model.save, with one input of [height, width, 3]."
        ) from error
    if len(shapes) != 1 or height != width or channels != 3:
        found = " and ".join(f"[{', '.join(map(str, shape[1:]))}]" for shape in shapes)
        raise ModelError(f"{path} takes {found}; expected one square RGB image, [size, size, 3].")
    return height, _dense_units(config["config"], layers)


def _dense_units(config: dict[str, Any], layers: list[dict[str, Any]]) -> int | None:
    # In a Functional model the order of the layers is not promised; in a Sequential one the last is the output.
    outputs = config.get("output_layers", [layers[-1]["config"]["name"]] if layers else [None])
    last = [layer for layer in layers if layer["class_name"] == "Dense" and layer["config"]["name"] == outputs[0]]
    return last[0]["config"]["units"] if last else None
