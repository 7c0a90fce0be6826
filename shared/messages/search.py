"""The messages of searches: the queries of one, the hits that answer them, and the reply that carries the answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from shared.errors import LookalikeError, MessageError, error_from_json, error_to_json
from shared.messages.filter import Filter
from shared.messages.finer import Finer, Refined
from shared.messages.query import MAX_IMAGE_BYTES, Query
from shared.messages.shards import SearchedShards
from shared.messages.tasks import VERSION, checked_fields, checked_identity, checked_integer, checked_job
from shared.messages.verdicts import VERDICTS, Evidence
from shared.messages.verified import PLAIN, Verified, Verify

MAX_K = 1_000


@dataclass(frozen=True, slots=True)
class SearchJob:
    """Many queries to one job's index, answered in one reply in the same order.

    `exact` compares with every embedding of the job instead of the index's candidates: exact hits, more slowly. A
    `filter` limits the hits; a message without one is the same as before there were filters. Without an `identity` any
    job of the name answers. `verify` is how hits are verified, and `finer` the model that orders them; a message of a
    plain search does not say them.
    """

    job: str
    queries: tuple[Query, ...]
    k: int = 10
    exact: bool = False
    filter: Filter | None = None
    identity: str | None = None
    verify: Verify = PLAIN
    finer: Finer | None = None

    def to_json(self) -> dict[str, Any]:
        queries = [query.to_json() for query in self.queries]
        return (
            {
                "version": VERSION,
                "job": self.job,
                "k": self.k,
                "exact": self.exact,
                "queries": queries,
            }
            | ({} if self.filter is None else {"filter": self.filter.to_json()})
            | ({} if self.identity is None else {"identity": self.identity})
            | self.verify.to_json()
            | ({} if self.finer is None else self.finer.to_json())
        )

    @classmethod
    def from_json(cls, table: Any, max_queries: int = 1_024, max_image_bytes: int = MAX_IMAGE_BYTES) -> Self:
        """Raises MessageError for anything but what `to_json` gives, for more than `max_queries` queries, or for an
        image of over `max_image_bytes`."""
        optional = frozenset({"filter", "identity", "verify", "views", "finer"})
        values = checked_fields(table, "search", {"job", "k", "exact", "queries"}, optional)
        queries = values["queries"]
        if not isinstance(queries, list) or not 1 <= len(queries) <= max_queries:
            found = len(queries) if isinstance(queries, list) else type(queries).__name__
            raise MessageError(f"A search message must carry a list of 1 to {max_queries} queries, not {found}.")
        if not isinstance(values["exact"], bool):
            raise MessageError(f"exact must be true or false, not {values['exact']!r:.80}.")
        return cls(
            checked_job(values["job"]),
            tuple(Query.from_json(query, max_image_bytes) for query in queries),
            checked_integer(values["k"], "k", 1, MAX_K),
            values["exact"],
            Filter.from_json(values["filter"]) if "filter" in values else None,
            checked_identity(values),
            Verify.from_json(values),
            Finer.from_json(values),
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer to a query: rank from 1, image id, its path as it was listed, cosine similarity.

    Of a search with several views it is the similarity of the view that is nearest. `verdict` is one of
    `shared.messages.verdicts`, None where the image was not compared with the query's picture; `evidence` is what it
    rests on, None beside "same bytes" and "similar". `chance`, 0 to 1, is that of a hit that was compared and not
    proven to show the query's picture after all; None where it was not measured. `finer` is the cosine similarity by
    the finer model, and `fused` what hits that are not proven are ordered by then: how many standard deviations they
    stand above the ranks behind, the mean of both models; None where no finer model compared the image.
    """

    rank: int
    id: int
    image_path: str
    similarity: float
    verdict: str | None = None
    evidence: Evidence | None = field(default=None, repr=False)
    chance: float | None = None
    finer: float | None = field(default=None, repr=False)
    fused: float | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        table: dict[str, Any] = {
            "rank": self.rank,
            "id": self.id,
            "image_path": self.image_path,
            "similarity": self.similarity,
        }
        if self.verdict is not None:
            table["verdict"] = self.verdict
        for name in ("chance", "finer", "fused"):
            if (value := getattr(self, name)) is not None:
                table[name] = value
        return table if self.evidence is None else table | {"evidence": self.evidence.to_json()}


def _hit(table: Any) -> Hit:
    """The hit that `to_json` gave; what a later version says of it besides is passed over."""
    evidence = Evidence.from_json(table["evidence"]) if "evidence" in table else None
    known = {one.name for one in fields(Hit)} - {"evidence"}
    hit = Hit(**{name: table[name] for name in known & set(table)}, evidence=evidence)
    found = (type(hit.rank), type(hit.id), type(hit.image_path))
    if found != (int, int, str) or type(hit.similarity) not in (int, float) or hit.verdict not in (None, *VERDICTS):
        raise TypeError(f"a hit of {table!r:.200}")
    numbers = (hit.chance, hit.finer, hit.fused)
    if not all(type(value) in (int, float, type(None)) for value in numbers) or not 0 <= (hit.chance or 0) <= 1:
        raise TypeError(f"a hit of {table!r:.200}")
    return hit


@dataclass(frozen=True, slots=True)
class AnsweredBy:
    """The source of an answer: the node name of the worker, and the directory or URL of the job as that worker sees
    it.
    """

    worker: str
    job: str

    def to_json(self) -> dict[str, str]:
        return {"worker": self.worker, "job": self.job}

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises MessageError for anything but what `to_json` gives."""
        if (
            not isinstance(table, Mapping)
            or set(table) != {"worker", "job"}
            or not all(isinstance(text, str) for text in table.values())
        ):
            raise MessageError(f"answered_by must hold the texts worker and job, not {table!r:.200}.")
        return cls(table["worker"], table["job"])


@dataclass(frozen=True, slots=True)
class Searched:
    """How much of a job a search looked at: all of its images, unless some are not embedded yet, or are in a shard of
    the index that nobody holds.

    Images that failed, and those that were removed, count as looked at.

    Attributes
    ----------
    images
        How many images were looked at.
    listed
        How many images the job lists.
    shards
        Which shards of the index were searched, where query workers hold some of them each; None where one holds all.
    """

    images: int
    listed: int
    shards: SearchedShards | None = None

    @property
    def share(self) -> float:
        """The share of the images that were looked at, 0 to 1; it is 1 only where all were."""
        return self.images / self.listed if self.listed else 1.0

    def to_json(self) -> dict[str, Any]:
        table = {"images": self.images, "listed": self.listed}
        return table if self.shards is None else table | {"shards": self.shards.to_json()}

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises ValueError, TypeError, KeyError or MessageError for anything but what `to_json` gives."""
        images, listed = table["images"], table["listed"]
        if type(images) is not int or type(listed) is not int or not 0 <= images <= listed:
            raise ValueError(f"searched is {table!r:.200}")
        return cls(images, listed, SearchedShards.from_json(table["shards"]) if "shards" in table else None)


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one query: its hits and the worker's milliseconds, or the error instead.

    `answered_by` is set if the reply that brought the answer says it, and `searched` if the answer does: a worker of
    an older version does not, and a client of one passes over it. `verified` is set where hits were to be verified, and
    `refined` where a finer model was to order them.
    """

    hits: tuple[Hit, ...] = ()
    milliseconds: float = 0.0
    error: LookalikeError | None = None
    answered_by: AnsweredBy | None = None
    searched: Searched | None = None
    verified: Verified | None = None
    refined: Refined | None = None

    def to_json(self) -> dict[str, Any]:
        table: dict[str, Any]
        if self.error is not None:
            table = {"error": error_to_json(self.error)}
        else:
            table = {"hits": [hit.to_json() for hit in self.hits], "milliseconds": self.milliseconds}
        if self.verified is not None:
            table["verified"] = self.verified.to_json()
        if self.refined is not None:
            table["finer"] = self.refined.to_json()
        return table if self.searched is None else table | {"searched": self.searched.to_json()}

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises MessageError for anything but what `to_json` gives."""
        try:
            searched = Searched.from_json(table["searched"]) if "searched" in table else None
            if "error" in table:
                return cls(error=error_from_json(table["error"]), searched=searched)
            hits = tuple(_hit(hit) for hit in table["hits"])
            verified = Verified.from_json(table["verified"]) if "verified" in table else None
            refined = Refined.from_json(table["finer"]) if "finer" in table else None
            return cls(hits, float(table["milliseconds"]), searched=searched, verified=verified, refined=refined)
        except (KeyError, TypeError, ValueError) as error:
            raise MessageError(
                f"A worker's answer can't be read ({error!r}): run the same version everywhere."
            ) from None


def reply_to_json(answers: list[Answer], answered_by: AnsweredBy | None = None) -> dict[str, Any]:
    table = {"version": VERSION, "answers": [answer.to_json() for answer in answers]}
    return table if answered_by is None else table | {"answered_by": answered_by.to_json()}


def reply_from_json(table: Any) -> list[Answer]:
    """The answers of a reply, in the order of the queries; raises MessageError when it is no reply."""
    values = checked_fields(table, "reply", {"answers"}, frozenset({"answered_by"}))
    if not isinstance(values["answers"], list):
        raise MessageError("A reply must carry a list of answers.")
    answered_by = AnsweredBy.from_json(values["answered_by"]) if "answered_by" in values else None
    return [replace(answer, answered_by=answered_by) for answer in map(Answer.from_json, values["answers"])]
