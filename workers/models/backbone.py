"""Define the backbone behind an embedder, which computes features, and its builder, without importing any model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shared.models import ModelSpec


class Backbone(Protocol):
    """The result of a builder: a model that takes batches of one fixed size at most.

    If its images go `one_by_one` through the model it takes smaller batches as well, because images do not affect each
    other.
    """

    @property
    def dim(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def one_by_one(self) -> bool: ...

    def forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features float32 [batch_size, dim], of any length, of uint8 [batch_size, image_size, image_size, 3], RGB."""


@runtime_checkable
class DeviceBackbone(Backbone, Protocol):
    """A backbone on a device with a memory of its own, into which batches can be moved ahead."""

    def to_device(self, batch: NDArray[np.uint8]) -> Any:
        """Begin to move a batch there; `forward` takes what this returns as it takes a batch."""


Builder = Callable[[ModelSpec, Path | None, int | None], Backbone]
"""Builds the model of a spec from its checked weights file (None: the builder finds them) for batches of a size (None:
one that suits the machine).
"""
