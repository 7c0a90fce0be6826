from dataclasses import replace

import pytest

from coordinator.client.joined import Replies, joined
from shared.errors import ImageError, JobError, LookalikeError, NoWorker, ReplyTimeout
from shared.messages.finer import Refined
from shared.messages.search import Answer, AnsweredBy, Hit, Searched
from shared.messages.shards import Held, SearchedShards
from shared.messages.verdicts import SAME_BYTES, SAME_PICTURE, SIMILAR
from shared.messages.verified import Verified
from tests.support.evidence import evidence

SIZES = (10, 20, 30, 40)


def searched(*numbers: int, build: str = "0001-a", images: int = 100, listed: int = 100) -> Searched:
    return Searched(images, listed, SearchedShards(build, numbers, SIZES))


def answer(
    held: str, *hits: tuple[int, float], build: str = "0001-a", milliseconds: float = 1.0, images: int = 100
) -> Answer:
    found = tuple(Hit(rank, id, f"{id}.jpg", similarity) for rank, (id, similarity) in enumerate(hits, start=1))
    shards = tuple(Held.parsed(held).among(len(SIZES)))
    told = searched(*shards, build=build, images=images)
    return Answer(found, milliseconds, answered_by=AnsweredBy(f"query@{held}", "/job"), searched=told)


def of(*groups: tuple[str, list[Answer]], **failed: LookalikeError) -> Replies:
    return Replies(
        {Held.parsed(held): answers for held, answers in groups},
        {Held.parsed(held.strip("_").replace("_", "-")): error for held, error in failed.items()},
    )


def test_hits_of_all_holders_are_in_the_order_of_their_similarity_and_each_image_is_there_once() -> None:
    replies = of(
        ("0-2", [answer("0-2", (1, 0.9), (5, 0.5), (2, 0.4), milliseconds=3)]),
        ("2-3", [answer("2-3", (7, 0.95), (5, 0.5), (0, 0.5), milliseconds=2)]),
    )
    (one,) = joined(replies, 4, partial=False, shown="here")
    assert [(hit.rank, hit.id) for hit in one.hits] == [(1, 7), (2, 1), (3, 0), (4, 5)]
    assert one.milliseconds == 3
    assert one.searched == searched(0, 1, 2, 3)
    assert one.answered_by is not None


def test_a_shard_without_a_worker_is_a_sentence_that_names_it_and_what_to_start() -> None:
    replies = of(("0", [answer("0", (1, 0.9))]), ("3", [answer("3")]))
    with pytest.raises(NoWorker, match=r"behind here holds the shards 1-2 of the 4, counted from 0") as raised:
        joined(replies, 5, partial=False, shown="here")
    assert raised.value.remedy is not None
    assert raised.value.remedy.given == {"role": "query", "shards": "1-2"}
    assert "50% of the images" in str(raised.value)


def test_a_partial_answer_says_what_was_searched() -> None:
    (one,) = joined(of(("0-1", [answer("0-1", (1, 0.9))])), 5, partial=True, shown="here")
    assert [hit.id for hit in one.hits] == [1]
    assert one.searched == searched(0, 1, images=30)
    assert one.searched.shards is not None
    assert (one.searched.shards.missing, one.searched.share) == ([2, 3], 0.3)


def test_images_that_are_not_embedded_yet_are_no_more_searched_than_those_of_shards_that_nobody_holds() -> None:
    replies = of(("0-1", [answer("0-1", (1, 0.9), images=90)]), ("3", [answer("3", images=95)]))
    (one,) = joined(replies, 5, partial=True, shown="here")
    assert one.searched == searched(0, 1, 3, images=60)


def one_of_none(held: str, *hits: Hit) -> Answer:
    """An answer of a job without an index, of whose 100 images 40 are embedded."""
    shards = SearchedShards("", tuple(Held.parsed(held).among(1)), (40,))
    return Answer(hits, 1.0, searched=Searched(40, 100, shards))


def test_a_job_without_an_index_is_answered_by_the_group_that_holds_shard_0() -> None:
    replies = of(("0-3", [one_of_none("0-3", Hit(1, 7, "7.jpg", 0.9))]), ("4-", [one_of_none("4-")]))
    (one,) = joined(replies, 5, partial=False, shown="here")
    assert ([hit.id for hit in one.hits], one.searched) == ([7], Searched(40, 100, SearchedShards("", (0,), (40,))))
    without = of(("4-", [one_of_none("4-")]))
    with pytest.raises(NoWorker, match="no index yet, and no query worker behind here holds shard 0") as raised:
        joined(without, 5, partial=False, shown="here")
    assert raised.value.remedy is not None
    assert raised.value.remedy.given == {"role": "query", "shards": "0"}
    assert joined(without, 5, partial=True, shown="here")[0].searched == Searched(0, 100, SearchedShards("", (), (40,)))


def test_answers_from_before_the_first_build_are_not_joined_with_those_from_after() -> None:
    replies = of(("0-1", [one_of_none("0-1")]), ("2-3", [answer("2-3")]))
    with pytest.raises(JobError, match="different builds, none yet and 0001-a"):
        joined(replies, 5, partial=True, shown="here")


def test_holders_that_did_not_answer_do_not_matter_where_others_hold_the_same() -> None:
    replies = of(("0-3", [answer("0-3", (1, 0.9))]), _2=NoWorker("none"))
    assert [hit.id for hit in joined(replies, 5, partial=False, shown="here")[0].hits] == [1]


def test_holders_that_were_too_slow_say_so_and_are_not_said_to_be_missing() -> None:
    replies = of(("0-1", [answer("0-1")]), _2_3=ReplyTimeout("too slow"))
    with pytest.raises(ReplyTimeout, match="too slow"):
        joined(replies, 5, partial=False, shown="here")
    assert joined(replies, 5, partial=True, shown="here")[0].searched is not None


def test_where_nobody_answers_there_is_no_partial_answer() -> None:
    with pytest.raises(NoWorker, match="none"):
        joined(of(_0_3=NoWorker("none")), 5, partial=True, shown="here")


def test_answers_of_two_builds_are_never_joined() -> None:
    replies = of(("0-1", [answer("0-1")]), ("2-3", [answer("2-3", build="0002-b")]))
    assert replies.builds == {"0001-a", "0002-b"}
    with pytest.raises(JobError, match="different builds, 0001-a and 0002-b"):
        joined(replies, 5, partial=True, shown="here")


def test_what_is_wrong_with_one_query_is_its_answer_and_the_others_are_joined() -> None:
    bad = Answer(error=ImageError("It is cut short.", "truncated"))
    replies = of(("0-1", [bad, answer("0-1", (1, 0.5))]), ("2-3", [bad, answer("2-3", (9, 0.6))]))
    first, second = joined(replies, 5, partial=False, shown="here")
    assert isinstance(first.error, ImageError)
    assert [hit.id for hit in second.hits] == [9, 1]


def judged(held: str, told: Verified | None, *hits: Hit) -> Answer:
    shards = tuple(Held.parsed(held).among(len(SIZES)))
    return Answer(hits, 1.0, searched=searched(*shards), verified=told)


def test_what_one_holder_proved_comes_before_what_is_nearer_in_another() -> None:
    proven = Hit(1, 7, "7.jpg", 0.4, SAME_PICTURE, evidence(50))
    bytes_ = Hit(1, 9, "9.jpg", 0.3, SAME_BYTES)
    near = [Hit(rank, image, f"{image}.jpg", 0.9 - rank / 10, SIMILAR) for rank, image in ((1, 1), (2, 2))]
    replies = of(
        ("0-1", [judged("0-1", Verified(20, 3, ended="far"), *near)]),
        ("2", [judged("2", Verified(9, 8, 1, "8.jpg is gone.", "enough"), proven, Hit(2, 3, "3.jpg", 0.35))]),
        ("3", [judged("3", Verified(5, 5), bytes_)]),
    )
    (one,) = joined(replies, 4, partial=False, shown="here")
    assert [(hit.rank, hit.id, hit.verdict) for hit in one.hits] == [
        (1, 9, SAME_BYTES), (2, 7, SAME_PICTURE), (3, 1, SIMILAR), (4, 2, SIMILAR)
    ]  # fmt: skip
    assert one.hits[1].evidence == evidence(50)
    assert one.verified == Verified(34, 16, 1, "8.jpg is gone.", "enough")


def test_hits_of_all_holders_are_in_the_order_of_both_models() -> None:
    far, near = Hit(1, 1, "1.jpg", 0.4, finer=0.9, fused=3.0), Hit(1, 2, "2.jpg", 0.9, finer=0.1, fused=1.0)
    replies = of(
        ("0-1", [replace(judged("0-1", None, near), refined=Refined("m@1", 5, 5))]),
        ("2-3", [replace(judged("2-3", None, far), refined=Refined("m@1", 7, 6, 1, "3.jpg is gone."))]),
    )
    (one,) = joined(replies, 4, partial=False, shown="here")
    assert [hit.id for hit in one.hits] == [1, 2]
    assert one.refined == Refined("m@1", 12, 11, 1, "3.jpg is gone.")


@pytest.mark.parametrize("turned", [False, True])
def test_of_an_image_that_several_holders_have_the_verdict_of_the_one_that_compared_it_counts(turned: bool) -> None:
    plain = Hit(1, 5, "5.jpg", 0.6)
    same = plain, replace(plain, verdict=SIMILAR), replace(plain, verdict=SAME_PICTURE, evidence=evidence())
    for one, other, verdict in ((0, 1, SIMILAR), (0, 2, SAME_PICTURE), (1, 2, SAME_PICTURE)):
        first, second = (same[other], same[one]) if turned else (same[one], same[other])
        replies = of(("0-2", [judged("0-2", None, first)]), ("2-3", [judged("2-3", None, second)]))
        (answer_,) = joined(replies, 3, partial=False, shown="here")
        assert [(hit.id, hit.verdict) for hit in answer_.hits] == [(5, verdict)]
        assert answer_.verified is None
