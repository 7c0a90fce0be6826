"""The reply to a message that changes a job: the ids, or the error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import LookalikeError, MessageError, error_from_json, error_to_json
from shared.messages.changes import MOST_ID
from shared.messages.tasks import VERSION, checked_fields, checked_integer


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did: the `ids` that the added images got, in their order, or of those that were removed; its number
    in the log of the job.

    `uncovered` says how many images are searched beside the index in how many partitions, where a merge should add them
    to it; (0, 0) before that.
    """

    ids: Sequence[int]
    change: int
    uncovered: tuple[int, int] = (0, 0)

    def to_json(self) -> dict[str, Any]:
        table = {"version": VERSION, "ids": list(self.ids), "change": self.change}
        return table | {"uncovered": list(self.uncovered)}


def changed_from_json(table: Any) -> Changed:
    """The reply to a change; raises the error that it carries, and MessageError when it is no reply."""
    if isinstance(table, Mapping) and "error" in table:
        try:
            raise error_from_json(table["error"])
        except (KeyError, TypeError, ValueError) as error:
            raise MessageError(
                f"A worker's error can't be read ({error!r}): run the same version everywhere."
            ) from None
    values = checked_fields(table, "reply", {"ids", "change", "uncovered"})
    try:
        ids = [checked_integer(one, "an id", 0, MOST_ID) for one in values["ids"]]
        rows, partitions = (checked_integer(one, "a count", 0, MOST_ID) for one in values["uncovered"])
    except (TypeError, ValueError):
        raise MessageError("A reply to a change must hold ids and two counts.") from None
    return Changed(ids, checked_integer(values["change"], "change", 1, MOST_ID), (rows, partitions))


def failed_to_json(error: LookalikeError) -> dict[str, Any]:
    """The reply to a change that was not made."""
    return {"version": VERSION, "error": error_to_json(error)}
