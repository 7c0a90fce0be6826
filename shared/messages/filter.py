"""Limit a search to some images, named by their ids or by an expression over the metadata."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from shared.errors import MessageError, QueryError

MAX_IDS: Final = 1_000_000
MAX_WHERE: Final = 4_096


@dataclass(frozen=True, slots=True, eq=False)  # Arrays do not compare to one truth value.
class Filter:
    """The images that a search is limited to: `ids` (int64 [n]), or those for whose metadata the SQL expression `where`
    is true.

    Raises QueryError when it names neither or both, no ids or over 1,000,000, or no expression or one of over 4,096
    characters. Only the metadata can tell whether the ids are images of the job, and whether the expression is valid.
    """

    ids: npt.NDArray[np.int64] | None = None
    where: str | None = None

    def __post_init__(self) -> None:
        if (self.ids is None) == (self.where is None):
            raise QueryError("A filter is either a list of image ids or an expression over the metadata, and just one.")
        if self.where is not None and not 1 <= len(self.where.strip()) <= len(self.where) <= MAX_WHERE:
            raise QueryError(
                f"The expression of a filter has {len(self.where):,} characters; 1 to {MAX_WHERE:,} that are not all "
                "blank are read."
            )
        if self.ids is not None and not 1 <= len(self.ids) <= MAX_IDS:
            raise QueryError(
                f"The filter has {len(self.ids):,} image ids; 1 to {MAX_IDS:,} are read: filter by an expression, or "
                "leave the filter out."
            )

    @classmethod
    def of(cls, ids: npt.ArrayLike | None, where: str | None) -> "Filter | None":
        """The filter of a search's arguments; None if both are None. Raises QueryError for ids that are no integers."""
        if ids is None:
            return None if where is None else cls(where=where)
        array = np.asarray(ids)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise QueryError(f"The ids of a filter must be whole numbers [n], not {array.dtype} {list(array.shape)}.")
        if array.size and array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
            raise QueryError(f"The image id {array.max()} of the filter is beyond every job.")
        return cls(np.unique(array.astype(np.int64)), where)

    @property
    def key(self) -> bytes:
        """The same for the same filter, and for no other."""
        if self.ids is None:
            return b"where" + str(self.where).encode("utf-8", "surrogatepass")
        return b"ids" + hashlib.blake2b(np.ascontiguousarray(self.ids, dtype="<i8").tobytes(), digest_size=32).digest()

    def to_json(self) -> dict[str, str]:
        if self.ids is None:
            return {"where": str(self.where)}
        return {"ids": base64.b64encode(np.ascontiguousarray(self.ids, dtype="<i8").tobytes()).decode("ascii")}

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises MessageError for anything but what `to_json` gives; what is too long is refused before decoding."""
        if not isinstance(table, Mapping) or set(table) not in ({"ids"}, {"where"}):
            raise MessageError('A filter must be a JSON object with just "ids" or just "where".')
        ((kind, text),) = table.items()
        if not isinstance(text, str):
            raise MessageError(f"The {kind} of a filter must be text, not {type(text).__name__}.")
        try:
            if kind == "where":
                return cls(where=text)
            if len(text) > MAX_IDS * 8 * 4 // 3 + 4:
                raise MessageError(f"The ids of a filter have {len(text):,} characters; {MAX_IDS:,} ids have fewer.")
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise MessageError("The ids of a filter must be base64 text.") from None
        except QueryError as error:
            raise MessageError(str(error)) from None
        if len(data) % 8:
            raise MessageError(f"The ids of a filter have {len(data)} bytes; int64 values take 8 each.")
        try:
            return cls(np.unique(np.frombuffer(data, dtype="<i8").astype(np.int64)))
        except QueryError as error:
            raise MessageError(str(error)) from None
