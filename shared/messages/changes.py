"""The messages that change a job: images to add, to remove or to put in the place of others."""

import base64
import binascii
import datetime
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from shared.errors import MessageError, UsageError
from shared.messages.tasks import VERSION, checked_fields, checked_identity, checked_integer, checked_job

MOST_IMAGES: Final = 10_000
"""Images, vectors or ids that one message may hold."""
MOST_BYTES: Final = 64 << 20
"""Bytes of images and vectors that one message may hold."""
MOST_TEXT: Final = MOST_BYTES // 3 * 4 + (16 << 20)
"""Characters of JSON that one message may have."""
_PLAIN: Final = (bool, int, float, str, datetime.date, type(None))
MOST_ID: Final = 1 << 53
"""An image id that no job reaches."""
_REQUEST: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_MOST_NAME: Final = 200
_ACTIONS: Final = ("add", "update", "delete")
_OPTIONAL: Final = frozenset({"images", "vectors", "dim", "paths", "metadata", "ids", "identity", "model"})


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image that is to be added: a `path` or URL that the worker can read, or a `name` and encoded `data`."""

    path: str = ""
    name: str = ""
    data: bytes = b""

    def to_json(self) -> dict[str, str]:
        if self.path:
            return {"path": self.path}
        return {"name": self.name, "data": base64.b64encode(self.data).decode("ascii")}

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises MessageError for anything but what `to_json` gives."""
        if not isinstance(table, Mapping) or not all(isinstance(text, str) for text in table.values()):
            raise MessageError("An image of a change must be a JSON object of texts.")
        if set(table) == {"path"} and table["path"]:
            return cls(path=table["path"])
        if set(table) != {"name", "data"}:
            raise MessageError('An image of a change must hold just "path", or "name" and "data".')
        try:
            require_name(table["name"])
        except UsageError as error:
            raise MessageError(str(error)) from None
        return cls(name=table["name"], data=_decoded(table["data"], "image"))


def require_name(name: str) -> str:
    """`name` as that of an image which is given as bytes; UsageError where no file can be called so."""
    fits = isinstance(name, str) and name.isprintable() and len(name.encode(errors="replace")) <= _MOST_NAME
    if not fits or not name or name.startswith(".") or "/" in name or "::" in name:
        raise UsageError(
            f"{name!r:.80} can't name an image: use 1 to {_MOST_NAME} bytes of printable text without / and ::, and "
            "no full stop before it."
        )
    return name


@dataclass(frozen=True, slots=True, eq=False)  # Arrays do not compare to one truth value.
class ChangeJob:
    """A change that is asked of a job; without an `identity`, of any job of that name.

    `action` is add, update or delete. `request` names the request: one that comes twice is done once. `images` or
    `vectors` (float16 [n, d], of length 1, each with a path or None) are what is added. `metadata` has the values of
    each image by their columns. `ids` are what is removed; just one for an update, which may give an image, metadata or
    both. `model` is the name of the model that made the vectors, None for that of the job.
    """

    job: str
    action: str
    request: str
    images: tuple[NewImage, ...] = ()
    vectors: np.ndarray | None = None
    paths: tuple[str | None, ...] = ()
    metadata: tuple[Mapping[str, Any], ...] | None = None
    ids: tuple[int, ...] = ()
    identity: str | None = None
    model: str | None = None

    def __len__(self) -> int:
        """How many images it adds."""
        return len(self.images) if self.vectors is None else len(self.vectors)

    @property
    def digest(self) -> str:
        """16 hex digits that differ for a request of the same name that asks for something else."""
        asked = {name: value for name, value in self.to_json().items() if name not in ("version", "job", "identity")}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]

    def require(self) -> Self:
        """This message, if it fits together and into a queue; raises UsageError otherwise."""
        if not _REQUEST.fullmatch(self.request):
            raise UsageError(f"{self.request!r:.80} can't name a request: use 1 to 100 letters, digits and _.:-")
        size = sum(len(image.data) for image in self.images) + (0 if self.vectors is None else self.vectors.nbytes)
        if size > MOST_BYTES:
            raise UsageError(
                f"The images or vectors of one call have {size:,} bytes, and at most {MOST_BYTES:,} are sent: give "
                "them in several calls, or by their paths."
            )
        if max(len(self), len(self.ids)) > MOST_IMAGES:
            raise UsageError(
                f"{max(len(self), len(self.ids)):,} images came in one call, and at most {MOST_IMAGES:,} are taken: "
                "give them in several, or index the source that they are in."
            )
        if self.metadata is not None and self.action == "add" and len(self.metadata) != len(self):
            raise UsageError(
                f"{len(self):,} images came with the metadata of {len(self.metadata):,}: give one for each."
            )
        if self.vectors is not None and len(self.paths) not in (0, len(self.vectors)):
            raise UsageError(f"{len(self.vectors):,} vectors came with {len(self.paths):,} paths: give one for each.")
        counts = {"add": (len(self) > 0, not self.ids), "delete": (not len(self), len(self.ids) > 0)}
        counts["update"] = (len(self) <= 1 and (len(self) == 1 or bool(self.metadata)), len(self.ids) == 1)
        if not all(counts.get(self.action, (False,))):
            raise UsageError(f"There is nothing to {self.action}: name images, and for an update what is new of one.")
        return self

    def to_json(self) -> dict[str, Any]:
        table: dict[str, Any] = {"version": VERSION, "job": self.job, "action": self.action, "request": self.request}
        if self.images:
            table["images"] = [image.to_json() for image in self.images]
        if self.vectors is not None:
            data = np.ascontiguousarray(self.vectors, "<f2").tobytes()
            table |= {"vectors": base64.b64encode(data).decode("ascii"), "dim": int(self.vectors.shape[1])}
            table |= {"paths": list(self.paths)} if self.paths else {}
        if self.metadata is not None:
            table["metadata"] = [dict(values) for values in self.metadata]
        table |= {"ids": list(self.ids)} if self.ids else {}
        given = {"identity": self.identity, "model": self.model}
        return table | {name: value for name, value in given.items() if value is not None}

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises MessageError for anything but what `to_json` gives of a message that fits together."""
        values = checked_fields(table, "change", {"job", "action", "request"}, _OPTIONAL)
        if values["action"] not in _ACTIONS or not isinstance(values["request"], str):
            raise MessageError(f"The action of a change must be one of {', '.join(_ACTIONS)}, and its request a text.")
        metadata = None
        if "metadata" in values:
            metadata = tuple(_list(values, "metadata"))
            if not all(isinstance(row, dict) for row in metadata):
                raise MessageError("The metadata of a change must be JSON objects.")
        paths = tuple(_list(values, "paths"))
        if not all(path is None or (isinstance(path, str) and path) for path in paths):
            raise MessageError("The paths of a change must be texts or null.")
        model = values.get("model")
        if model is not None and not isinstance(model, str):
            raise MessageError("The model of a change must be a text.")
        try:
            return cls(
                job=checked_job(values["job"]),
                action=values["action"],
                request=values["request"],
                images=tuple(NewImage.from_json(image) for image in _list(values, "images")),
                vectors=_vectors(values) if "vectors" in values else None,
                paths=paths,
                metadata=metadata,
                ids=tuple(checked_integer(one, "an id", 0, MOST_ID) for one in _list(values, "ids")),
                identity=checked_identity(values),
                model=model,
            ).require()
        except UsageError as error:
            raise MessageError(str(error)) from None


def _list(values: Mapping[str, Any], name: str) -> list[Any]:
    found = values.get(name, [])
    if not isinstance(found, list) or len(found) > MOST_IMAGES:
        raise MessageError(f"The {name} of a change must be a list of at most {MOST_IMAGES:,}.")
    return found


def _vectors(values: Mapping[str, Any]) -> np.ndarray:
    dim = checked_integer(values.get("dim"), "dim", 1, 65_536)
    data = _decoded(values["vectors"], "vectors")
    if not data or len(data) % (2 * dim):
        raise MessageError(
            f"The vectors of a change have {len(data):,} bytes; rows of {dim} float16 take {2 * dim:,} each."
        )
    return np.frombuffer(data, "<f2").reshape(-1, dim).astype(np.float16)


def _decoded(text: Any, kind: str) -> bytes:
    if not isinstance(text, str) or len(text) // 4 * 3 > MOST_BYTES + 4:
        raise MessageError(f"The {kind} of a change must be base64 text of at most {MOST_BYTES:,} bytes.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MessageError(f"The {kind} of a change must be base64 text.") from None


def to_wire(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as JSON holds it: dates and times as text. Raises UsageError for a value that is not plain."""
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, _PLAIN):
            raise UsageError(
                f"The value of {name!r:.80} is a {type(value).__name__}; metadata holds texts, numbers, True, False, "
                "dates, times and None."
            )
    return {name: value.isoformat() if isinstance(value, datetime.date) else value for name, value in values.items()}
