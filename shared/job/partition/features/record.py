"""The features of one image as a chunk carries them: its PDQ, the quality of that, and its local features."""

from dataclasses import dataclass
from typing import Final, Self

from shared.errors import CorruptFile

STORED_VERSION: Final = "rootsift128x170-2 pdq-1"
"""Names how stored features are made: those of another version are not read, and never stand beside these."""
PDQ_BYTES: Final = 32
_HEAD: Final = PDQ_BYTES + 1
_MOST_QUALITY: Final = 100


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """What tells copies of an image: `pdq` (32 bytes) with its `quality` from 0 to 100, and `local`, the bytes that
    LocalFeatures are stored as.
    """

    pdq: bytes
    quality: int
    local: bytes

    def __post_init__(self) -> None:
        if len(self.pdq) != PDQ_BYTES or not 0 <= self.quality <= _MOST_QUALITY or not self.local:
            raise ValueError(f"Not features: a PDQ of {len(self.pdq)} bytes, quality {self.quality}.")

    def to_bytes(self) -> bytes:
        """The inverse of `from_bytes`: quality, PDQ, local features."""
        return bytes([self.quality]) + self.pdq + self.local

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The features that `to_bytes` wrote; raises CorruptFile for anything else."""
        try:
            return cls(data[1:_HEAD], data[0], data[_HEAD:])
        except (ValueError, IndexError) as error:
            raise CorruptFile(f"{len(data)} bytes are no features of an image ({error}).") from None
