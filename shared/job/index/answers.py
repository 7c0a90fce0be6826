"""The exact answers that the recall of a build was measured against, in a file of their own beside its index.json."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from shared.errors import CorruptFile
from shared.job.directory import JobDir
from shared.job.index.builds import IndexInfo
from shared.storage import files

ANSWERS_FILE: Final = "answers.json"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class ExactAnswer:
    """An image of a build as a query: the `ids` of the images nearest to it and their cosine similarities, best first.

    Ties are ordered by id, and the image itself is not among them. No image of the build that is not among them comes
    before the last of them.
    """

    id: int
    ids: Sequence[int]
    similarities: Sequence[float]


@dataclass(frozen=True, slots=True)
class ExactAnswers:
    """Exact answers over the embeddings that a build covers: `ntotal` of `dim` values, by the model `fingerprint`."""

    build: str
    ledger_digest: str
    fingerprint: str
    dim: int
    ntotal: int
    queries: Sequence[ExactAnswer]

    @classmethod
    def of(cls, info: IndexInfo, queries: Sequence[ExactAnswer]) -> Self:
        """The answers over what a build covers."""
        return cls(info.build, info.ledger_digest, info.fingerprint, info.dim, info.ntotal, queries)

    def is_of(self, info: IndexInfo) -> bool:
        """Whether these are answers over what this build covers."""
        return self == type(self).of(info, self.queries)

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError or TypeError for anything but what `asdict` gives."""
        made = cls(**{**table, "queries": [ExactAnswer(**one) for one in table["queries"]]})
        if len({one.id for one in made.queries}) != len(made.queries):
            raise ValueError("it has two answers to one query")
        for one in made.queries:
            whole = all(type(image) is int for image in (one.id, *one.ids))
            if not whole or len({one.id, *one.ids}) != 1 + len(one.ids) or len(one.similarities) != len(one.ids):
                raise ValueError(f"the answer to {one.id} does not name each image once, with its similarity")
            if not all(map(math.isfinite, one.similarities)):
                raise ValueError(f"a similarity to {one.id} is no number")
        return made


def write_answers(job: JobDir, answers: ExactAnswers) -> None:
    """Write the exact answers of a build into its directory, whole or not at all."""
    # Not `asdict`, which would copy each number by itself.
    queries = [{"id": one.id, "ids": list(one.ids), "similarities": list(one.similarities)} for one in answers.queries]
    table: dict[str, Any] = {"version": VERSION, "answers": asdict(replace(answers, queries=[])) | {"queries": queries}}
    table["sha256"] = _digest(table["answers"])
    # It ends as a marker does, or whoever reads it would wait for the rest.
    text = json.dumps(table).removesuffix("}") + "\n}\n"
    files.write_bytes(job.build_dir(answers.build) / ANSWERS_FILE, text.encode())


def read_answers(job: JobDir, info: IndexInfo) -> ExactAnswers | None:
    """The exact answers of a build; None where it has none, or those of another version of this file.

    Raises CorruptFile where the file is not what was written for this build. OSError when the disk does not answer.
    """
    path = job.build_dir(info.build) / ANSWERS_FILE
    try:
        table = json.loads(files.read_marker(path))
        if table["version"] != VERSION:
            return None
        if table["sha256"] != _digest(table["answers"]):
            raise ValueError("its checksum is another one")
        found = ExactAnswers.from_json(table["answers"])
        if not found.is_of(info):
            raise ValueError(f"it is of the build {found.build} of {found.ntotal} embeddings")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{path} does not hold the exact answers of the build ({error}).") from None
    return found


def answers_of(job: JobDir, info: IndexInfo) -> ExactAnswers | None:
    """As `read_answers`, None also where they can't be read: they are asked for again."""
    try:
        return read_answers(job, info)
    except (CorruptFile, OSError):
        return None


def _digest(table: Any) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
