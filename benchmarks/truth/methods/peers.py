"""What others have for the same question: perceptual hashes, and the CNN of imagededup."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from benchmarks.truth.methods.compared import Compared, Floats
from benchmarks.truth.methods.method import Unavailable
from benchmarks.truth.queries.collection import pixels_of

PACKAGES: Final = ("pdqhash", "imagehash", "imagededup")
_INSTALLED: Final = "the group of packages `peers` has it"


def pdq(turns: bool) -> Compared:
    """PDQ, 256 bits, with the threshold of its makers; with `turns`, a query's hashes of all eight turns and flips."""
    module = _imported("pdqhash", _INSTALLED)
    told = "PDQ, 8 turns and flips" if turns else "PDQ"
    about = f"pdqhash {version('pdqhash')}, no lower limit of quality"
    one = partial(_each, lambda image: [module.compute(image)[0]])
    eight = partial(_each, lambda image: module.compute_dihedral(image)[0])
    return Compared(told, about, one, eight if turns else one, 32, bits=256, published=-31)


def phash() -> Compared:
    """pHash, 64 bits, with the threshold that imagededup takes by default."""
    module, pillow = _imported("imagehash", _INSTALLED), import_module("PIL.Image")
    one = partial(_each, lambda image: [module.phash(pillow.fromarray(image)).hash.ravel()])
    return Compared("pHash", f"imagehash {version('imagehash')}", one, one, 8, bits=64, published=-10)


def imagededup_cnn() -> Compared:
    """The CNN of imagededup, with its default threshold; its weights come from a hub at its first use."""
    module = _imported("imagededup.methods", "install imagededup, which brings PyTorch and downloads weights")
    try:
        network = module.CNN(verbose=False)
    except Exception as error:  # Whatever a download without a network raises: urllib's, the hub's own.
        raise Unavailable(f"imagededup {version('imagededup')} can't get the weights of its CNN: {error}") from error

    def describe(files: Sequence[bytes]) -> Floats:
        rows = np.stack([network.encode_image(image_array=pixels_of(data)) for data in files]).astype(np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=2, keepdims=True), np.float32)

    about = f"imagededup {version('imagededup')}, MobileNetV3 small"
    return Compared("imagededup CNN", about, describe, describe, 576 * 4, published=0.9)


def _each(bits: Callable[[Any], Sequence[Any]], files: Sequence[bytes]) -> Floats:
    """The hashes of each file as +1 and -1, float32 [files, hashes of each, bits]."""
    found = np.array([bits(pixels_of(data)) for data in files])
    return np.where(found.astype(bool), np.float32(1), np.float32(-1))


def _imported(name: str, remedy: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise Unavailable(f"{name} can't be imported ({error}): {remedy}.") from error
