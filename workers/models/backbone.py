"""What stands behind an embedder: a backbone, which gives features, and its builder. No model is imported here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shared.models import ModelSpec


class Backbone(Protocol):
    """What a builder gives: a model that takes batches of one fixed size, and no more.

    One whose images go `one_by_one` through the model takes fewer as well, because none meets another.
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
what suits the machine)."""
