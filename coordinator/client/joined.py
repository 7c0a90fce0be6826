"""Join the answers of query workers that hold different shards of an index into one answer for each query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from shared.errors import JobError, LookalikeError, NoWorker
from shared.errors.remedy import Remedy
from shared.messages.finer import Refined
from shared.messages.search import Answer, Hit, Searched
from shared.messages.shards import Held, SearchedShards, as_ranges
from shared.messages.verified import Verified, best_first


@dataclass(frozen=True, slots=True)
class Replies:
    """What came from the holders of each group of shards: their answers, or why there are none."""

    answers: Mapping[Held, Sequence[Answer]]
    failed: Mapping[Held, LookalikeError]

    @property
    def builds(self) -> set[str]:
        """The builds that were searched, "" for none: several, while another one is being promoted."""
        return {shards.build for _, shards in self.searched}

    @property
    def searched(self) -> Sequence[tuple[Searched, SearchedShards]]:
        """What each group says it searched, and which shards of it; groups that say nothing are passed over."""
        told = (answer.searched for group in self.answers.values() for answer in group[:1])
        return [(one, one.shards) for one in told if one is not None and one.shards is not None]


def joined(replies: Replies, k: int, *, partial: bool, shown: str) -> list[Answer]:
    """One answer for each query: the `k` best hits of all, each image once: those that are proven first, and then the
    nearest.

    Images that were searched by several holders are as similar to all of them, but not all may have compared them with
    the query's picture. Without `partial`, raises NoWorker when no worker held some shards, and the error of the
    holders of others that did not answer; `shown` is the broker. Where nothing at all came, raises why.
    """
    if not replies.answers:
        raise next(iter(replies.failed.values()))
    if len(replies.builds) > 1:
        raise JobError(
            f"The query workers behind {shown} search different builds, "
            f"{' and '.join(build or 'none yet' for build in sorted(replies.builds))}, as while another build is "
            "promoted: ask again."
        )
    whole = _searched(replies)
    if whole is not None and whole.shards is not None and whole.shards.missing and not partial:
        raise _nobody(whole, whole.shards, replies.failed, shown)
    return [_one(some, k, whole) for some in zip(*replies.answers.values(), strict=True)]


def _searched(replies: Replies) -> Searched | None:
    """All that was searched; None where no answer says any, as all are errors that concern no index.

    Where groups saw the job at different moments, it is what all of them had seen.
    """
    told = replies.searched
    if not told:
        return None
    sizes = tuple(map(max, zip(*(shards.sizes for _, shards in told), strict=True)))
    numbers = tuple(sorted({number for _, shards in told for number in shards.numbers}))
    every = SearchedShards(told[0][1].build, numbers, sizes)
    # Each group counts the whole job, and only of its shards does it look at the images.
    images = min(one.images for one, _ in told) - sum(sizes[number] for number in every.missing)
    return Searched(max(0, images), max(one.listed for one, _ in told), every)


def _one(answers: Sequence[Answer], k: int, searched: Searched | None) -> Answer:
    for answer in answers:
        if answer.error is not None:  # What is wrong with a query is wrong with it everywhere.
            return replace(answer, searched=searched)
    best: dict[int, Hit] = {}
    for hit in best_first(hit for answer in answers for hit in answer.hits):
        if hit.id not in best or best[hit.id].verdict is None:
            best[hit.id] = hit
    hits = tuple(replace(hit, rank=rank) for rank, hit in enumerate(best_first(best.values())[:k], start=1))
    slowest = max(answer.milliseconds for answer in answers)
    told = [answer.verified for answer in answers if answer.verified is not None]
    verified = reduce(Verified.and_of, told) if told else None
    finer = [answer.refined for answer in answers if answer.refined is not None]
    refined = reduce(Refined.and_of, finer) if finer else None
    return Answer(hits, slowest, None, answers[0].answered_by, searched, verified, refined)


def _nobody(
    searched: Searched, shards: SearchedShards, failed: Mapping[Held, LookalikeError], shown: str
) -> LookalikeError:
    """The error of those who should have searched what is missing."""
    count = len(shards.sizes)
    for held, error in failed.items():
        if not isinstance(error, NoWorker) and set(held.among(count)) & set(shards.missing):
            return error
    missing = as_ranges(shards.missing)
    first = f"{shards.missing[0]}-{shards.missing[-1]}"
    if not shards.build:
        return NoWorker(
            f"The job has no index yet, and no query worker behind {shown} holds shard 0, with which all that is "
            "embedded is searched until then",
            remedy=Remedy("worker", does="start one with {}", given={"role": "query", "shards": "0"}),
        )
    return NoWorker(
        f"No query worker behind {shown} holds the shards {missing} of the {count}, counted from 0, that the index "
        f"{shards.build} has",
        remedy=Remedy(
            "worker",
            does="start one with {}, or allow an answer from the others, which hold "
            f"{searched.share:.0%} of the images",
            given={"role": "query", "shards": first},
        ),
    )
