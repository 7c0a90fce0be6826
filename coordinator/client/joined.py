"""Join the answers of query workers that hold different shards of an index into one answer for each query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shared.errors import JobError, LookalikeError, NoWorker
from shared.errors.remedy import Remedy
from shared.messages.search import Answer, Hit
from shared.messages.shards import Held, Searched, as_ranges


@dataclass(frozen=True, slots=True)
class Replies:
    """What came from the holders of each group of shards: their answers, or why there are none."""

    answers: Mapping[Held, Sequence[Answer]]
    failed: Mapping[Held, LookalikeError]

    @property
    def builds(self) -> set[str]:
        """The builds that were searched: several, while another one is being promoted."""
        return {answer.searched.build for group in self.answers.values() for answer in group if answer.searched}


def joined(replies: Replies, k: int, *, partial: bool, shown: str) -> list[Answer]:
    """One answer for each query: the `k` hits that are nearest of all, each image once.

    Images that were searched by several holders are as similar to all of them. Without `partial`, raises NoWorker when
    no worker held some shards, and the error of the holders of others that did not answer; `shown` is the broker. Where
    nothing at all came, raises why.
    """
    if not replies.answers:
        raise next(iter(replies.failed.values()))
    if len(replies.builds) > 1:
        raise JobError(
            f"The query workers behind {shown} search different builds, {' and '.join(sorted(replies.builds))}, as "
            "while another build is promoted: ask again."
        )
    whole = _searched(replies)
    if whole is not None and whole.missing and not partial:
        raise _nobody(whole, replies.failed, shown)
    return [_one(some, k, whole) for some in zip(*replies.answers.values(), strict=True)]


def _searched(replies: Replies) -> Searched | None:
    """All shards that were searched; None where no answer says any, as all are errors that concern no index."""
    told = [answer.searched for group in replies.answers.values() for answer in group[:1] if answer.searched]
    if not told:
        return None
    return replace(told[0], shards=tuple(sorted({shard for one in told for shard in one.shards})))


def _one(answers: Sequence[Answer], k: int, searched: Searched | None) -> Answer:
    for answer in answers:
        if answer.error is not None:  # What is wrong with a query is wrong with it everywhere.
            return replace(answer, searched=searched)
    nearest: dict[int, Hit] = {}
    for hit in (hit for answer in answers for hit in answer.hits):
        nearest.setdefault(hit.id, hit)
    best = sorted(nearest.values(), key=lambda hit: (-hit.similarity, hit.id))[:k]
    hits = tuple(replace(hit, rank=rank) for rank, hit in enumerate(best, start=1))
    slowest = max(answer.milliseconds for answer in answers)
    return Answer(hits, slowest, answered_by=answers[0].answered_by, searched=searched)


def _nobody(searched: Searched, failed: Mapping[Held, LookalikeError], shown: str) -> LookalikeError:
    """The error of those who should have searched what is missing."""
    count = len(searched.sizes)
    for held, error in failed.items():
        if not isinstance(error, NoWorker) and set(held.among(count)) & set(searched.missing):
            return error
    missing = as_ranges(searched.missing)
    first = f"{searched.missing[0]}-{searched.missing[-1]}"
    return NoWorker(
        f"No query worker behind {shown} holds the shards {missing} of the {count}, counted from 0, that the index "
        f"{searched.build} has",
        remedy=Remedy(
            "worker",
            does="start one with {}, or allow an answer from the others, which hold "
            f"{searched.share:.0%} of the images",
            given={"role": "query", "shards": first},
        ),
    )
