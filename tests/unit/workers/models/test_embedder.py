"""Batches, unit length and checked weights, on models that cost nothing to build."""

import hashlib
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import FingerprintMismatch, ModelError
from shared.models import ModelSpec, resolve_model
from shared.models.fusion import Fusion
from shared.models.preprocessing import STRICT_PREPROCESSING
from workers.models import embedder
from workers.models.embedder import (
    Embedder,
    OverlappingEmbedder,
    has_direction,
    load_embedder,
    no_direction,
    register_builder,
)
from workers.models.projection import Projection

SIZE = 4
Images = NDArray[np.uint8]


@dataclass
class Means:
    """A backbone that gives the mean of each channel, and keeps the batches that it saw."""

    batch_size: int = 3
    one_by_one: bool = False
    dim: int = 3
    scale: float = 1.0
    seen: list[Images] = field(default_factory=list)

    def forward(self, batch: Images) -> NDArray[np.float32]:
        self.seen.append(batch.copy())
        with np.errstate(invalid="ignore"):  # The zeros of the padding times infinity.
            return (batch.mean(axis=(1, 2)) * self.scale).astype(np.float32)


@dataclass
class OnDevice(Means):
    """The same on a device of its own, where a batch is a list of its rows."""

    def to_device(self, batch: Images) -> list[Images]:
        return list(batch)

    def forward(self, batch: Images | list[Images]) -> NDArray[np.float32]:
        return super().forward(np.stack(list(batch)))


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    (tmp_path / "means.bin").write_bytes(b"weights")
    return replace(
        resolve_model("efficientnet-b0"),
        name="means-rgb",
        weights="file",
        weights_file="means.bin",
        weights_sha256=hashlib.sha256(b"weights").hexdigest(),
        image_size=SIZE,
        dim=3,
    )


def load(spec: ModelSpec, model_dir: Path, backbone: Means) -> Embedder:
    register_builder("means", lambda *_: backbone)
    return load_embedder(spec, model_dir)


def photos(count: int) -> Images:
    return np.random.default_rng(count).integers(1, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
def test_any_number_of_images_becomes_unit_vectors_in_order(spec: ModelSpec, tmp_path: Path, count: int) -> None:
    images = photos(count)
    found = load(spec, tmp_path, Means()).embed(images)
    means = images.mean(axis=(1, 2))
    assert (found.shape, found.dtype) == ((count, 3), np.float32)
    np.testing.assert_allclose(found, means / np.linalg.norm(means, axis=1, keepdims=True), rtol=1e-6)


def test_the_model_only_ever_sees_full_batches(spec: ModelSpec, tmp_path: Path) -> None:
    backbone = Means()
    images = photos(7)
    load(spec, tmp_path, backbone).embed(images)
    assert [batch.shape for batch in backbone.seen] == [(3, SIZE, SIZE, 3)] * 3
    np.testing.assert_array_equal(backbone.seen[1], images[3:6])
    # The images of the batch before must not linger in the padding.
    assert not backbone.seen[2][1:].any()


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_images_that_were_handed_over_are_embedded_as_others_are(spec: ModelSpec, tmp_path: Path, count: int) -> None:
    backbone = OnDevice()
    embedder = load(spec, tmp_path, backbone)
    assert isinstance(embedder, OverlappingEmbedder)
    images = photos(count)
    if count:
        images[0] = 0
    both = [embedder.hand_over(images), embedder.hand_over(images[::-1])]
    assert backbone.seen == []
    plain = load(spec, tmp_path, Means())
    for compute, expected in zip(both, (plain.embed(images), plain.embed(images[::-1])), strict=True):
        np.testing.assert_array_equal(compute(), expected)
    np.testing.assert_array_equal(embedder.embed(images), plain.embed(images))
    with pytest.raises(ModelError, match=r"expected uint8 \[n, 4, 4, 3\]"):
        embedder.hand_over(photos(1)[0])


def test_nothing_is_handed_over_where_there_is_no_device(spec: ModelSpec, tmp_path: Path) -> None:
    assert not isinstance(load(spec, tmp_path, Means()), OverlappingEmbedder)


def test_a_model_whose_images_never_meet_is_given_no_padding_to_work_on(spec: ModelSpec, tmp_path: Path) -> None:
    backbone, images = Means(one_by_one=True), photos(7)
    found = load(spec, tmp_path, backbone).embed(images)
    assert [len(batch) for batch in backbone.seen] == [3, 3, 1]
    np.testing.assert_array_equal(found, load(spec, tmp_path, Means()).embed(images))


def test_an_embedder_says_what_it_is(spec: ModelSpec, tmp_path: Path) -> None:
    found = load(spec, tmp_path, Means(batch_size=5))
    assert (found.fingerprint, found.dim, found.image_size, found.batch_size) == (spec.fingerprint, 3, SIZE, 5)


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_a_model_that_gives_no_image_a_direction_is_an_error(spec: ModelSpec, tmp_path: Path, scale: float) -> None:
    with pytest.raises(ModelError, match=r"2 of 2 images.*noise too: check its weights"):
        load(spec, tmp_path, Means(scale=scale)).embed(photos(2))


def test_an_image_without_a_direction_is_a_row_of_nan_and_the_others_keep_theirs(
    spec: ModelSpec, tmp_path: Path
) -> None:
    images = photos(5)
    plain = load(spec, tmp_path, Means()).embed(images)
    images[3] = 0
    found = load(spec, tmp_path, Means()).embed(images)
    assert (found.shape, found.dtype) == ((5, 3), np.float32)
    assert np.isnan(found[3]).all()
    np.testing.assert_array_equal(np.delete(found, 3, axis=0), np.delete(plain, 3, axis=0))
    assert has_direction(found).tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_images_without_a_direction_are_no_error_while_the_model_sees_something_in_noise(
    spec: ModelSpec, tmp_path: Path, count: int
) -> None:
    backbone = Means()
    found = load(spec, tmp_path, backbone).embed(np.zeros((count, SIZE, SIZE, 3), np.uint8))
    assert np.isnan(found).all()
    assert not has_direction(found).any()
    assert len(np.unique(backbone.seen[-1][0])) > SIZE  # The noise that cleared the model.


def test_noise_is_embedded_only_when_no_image_of_a_call_has_a_direction(spec: ModelSpec, tmp_path: Path) -> None:
    backbone = Means()
    images = photos(3)
    images[1:] = 0
    embedder = load(spec, tmp_path, backbone)
    embedder.embed(images)
    embedder.embed(images[:0])
    assert len(backbone.seen) == 1


def test_a_missing_direction_is_an_image_error_with_a_status_of_its_own() -> None:
    assert no_direction().status == "no-direction"
    assert "has no direction" in str(no_direction())


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_features_of_extreme_length_keep_their_direction(spec: ModelSpec, tmp_path: Path, scale: float) -> None:
    images = photos(2)
    plain = load(spec, tmp_path, Means()).embed(images)
    np.testing.assert_allclose(load(spec, tmp_path, Means(scale=scale)).embed(images), plain, rtol=1e-4)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, SIZE, SIZE, 3), np.float32),
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((1, SIZE, SIZE, 4), np.uint8),
        np.zeros((1, SIZE + 1, SIZE, 3), np.uint8),
    ],
)
def test_images_of_another_shape_or_type_are_refused(spec: ModelSpec, tmp_path: Path, images: Images) -> None:
    with pytest.raises(ModelError, match=r"expected uint8 \[n, 4, 4, 3\]"):
        load(spec, tmp_path, Means()).embed(images)


def test_the_builder_gets_the_checked_weights_and_the_batch_size(spec: ModelSpec, tmp_path: Path) -> None:
    calls: list[tuple[ModelSpec, Path | None, int | None]] = []

    def build(spec: ModelSpec, weights: Path | None, batch_size: int | None) -> Means:
        calls.append((spec, weights, batch_size))
        return Means()

    register_builder("means", build)
    load_embedder(spec, tmp_path, 17)
    load_embedder(replace(spec, weights="imagenet", weights_file=None, weights_sha256=None), tmp_path)
    assert calls[0] == (spec, tmp_path / "means.bin", 17)
    assert calls[1][1:] == (None, None)


def test_other_weights_are_refused_naming_both_models_before_they_are_loaded(spec: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "means.bin").write_bytes(b"other weights")
    other = replace(spec, weights_sha256=hashlib.sha256(b"other weights").hexdigest())
    register_builder("means", lambda *_: pytest.fail("unchecked weights were loaded"))
    with pytest.raises(FingerprintMismatch) as caught:
        load_embedder(spec, tmp_path)
    assert spec.fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)


def test_another_preprocessing_is_refused_naming_both_models(spec: ModelSpec, tmp_path: Path) -> None:
    other = replace(spec, preprocessing="BGR 0-1")
    with pytest.raises(FingerprintMismatch) as caught:
        load(other, tmp_path, Means())
    assert spec.fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)


def test_a_model_whose_images_are_decoded_strictly_is_loaded(spec: ModelSpec, tmp_path: Path) -> None:
    strict = replace(spec, preprocessing=STRICT_PREPROCESSING)
    assert load(strict, tmp_path, Means()).fingerprint == strict.fingerprint != spec.fingerprint


def test_missing_weights_are_named(spec: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "means.bin").unlink()
    with pytest.raises(ModelError, match=r"means\.bin does not exist"):
        load(spec, tmp_path, Means())


def test_a_missing_weights_package_is_answered_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"lookalike\[worker\]"):
        load_embedder(resolve_model("efficientnet-lite0"), tmp_path)


def test_a_missing_keras_is_answered_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "workers.models.keras_backbone", None)
    with pytest.raises(ModelError, match=r"needs Keras.*lookalike\[worker\]"):
        load_embedder(resolve_model("efficientnet-b0"), tmp_path, engine="keras")


def test_a_model_of_other_dimensions_than_its_spec_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gives 3 dimensions; expected 5"):
        load(replace(spec, dim=5), tmp_path, Means())
    assert load(replace(spec, dim=None), tmp_path, Means()).dim == 3


def test_a_family_without_a_builder_is_answered_with_the_known_ones(spec: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'vit-b16'.*efficientnet, efficientnetv2, custom"):
        load_embedder(replace(spec, name="vit-b16"), tmp_path)


def test_an_impossible_batch_size_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    register_builder("means", lambda *_: Means())
    with pytest.raises(ModelError, match="batch size is 0"):
        load_embedder(spec, tmp_path, 0)


@pytest.fixture
def fused(spec: ModelSpec, tmp_path: Path) -> ModelSpec:
    """The model, whose means are its levels, and the projection of them in its directory."""
    made = Projection(np.array([100, 90, 80], np.float32), np.array([[1, 2, 3], [-1, 0, 1]], np.float32)).to_bytes()
    fusion = Fusion(("means",), 1, hashlib.sha256(made).hexdigest())
    (tmp_path / fusion.projection_file).write_bytes(made)
    return replace(spec, dim=2, fusion=fusion)


def test_a_fused_model_gives_its_projected_levels(fused: ModelSpec, tmp_path: Path) -> None:
    for backbone in (Means(), OnDevice()):
        found = load(fused, tmp_path, backbone)
        images = photos(7)
        expected = (images.mean(axis=(1, 2)) - [100, 90, 80]) @ np.array([[1, -1], [2, 0], [3, 1]])
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        assert (found.dim, found.fingerprint) == (2, fused.fingerprint)
        np.testing.assert_allclose(found.embed(images), expected, rtol=1e-4, atol=1e-5)
        alone = np.concatenate([found.embed(image[None]) for image in images])
        assert alone.tobytes() == found.embed(images).tobytes()


def test_a_fused_model_that_is_dead_is_told_from_a_black_image(fused: ModelSpec, tmp_path: Path) -> None:
    black = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    assert not has_direction(load(fused, tmp_path, Means()).embed(black)).any()
    with pytest.raises(ModelError, match="to a picture of plain noise too"):
        load(fused, tmp_path, Means(scale=0.0)).embed(photos(2))


def test_without_its_own_projection_a_fused_model_is_not_run(fused: ModelSpec, tmp_path: Path) -> None:
    assert fused.fusion is not None
    path = tmp_path / fused.fusion.projection_file
    with pytest.raises(ModelError, match="are 4 values, and the job's projection takes 3"):
        load(fused, tmp_path, Means(dim=4))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FingerprintMismatch, match="and the job's model was made with"):
        load(fused, tmp_path, Means())
    path.unlink()
    with pytest.raises(ModelError, match="is missing"):
        load(fused, tmp_path, Means())
