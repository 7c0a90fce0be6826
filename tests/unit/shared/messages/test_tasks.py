import base64
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from shared.errors import ImageError, LookalikeError, MessageError, NoIndexYet, QueryError
from shared.job.directory import check_job_id
from shared.messages.filter import Filter
from shared.messages.query import Query
from shared.messages.search import MAX_K, Answer, AnsweredBy, Hit, Searched, SearchJob, reply_from_json, reply_to_json
from shared.messages.tasks import (
    EMBED_QUEUE,
    MAX_PARTITION,
    MAX_SHARD,
    MERGE_QUEUE,
    QUERY_QUEUE,
    QUEUES,
    TASK_QUEUES,
    EmbedCopies,
    EmbedPartition,
    FillShard,
    MergeJob,
)
from shared.messages.verdicts import SAME_PICTURE, SIMILAR
from shared.storage.remote import OutOfReach
from tests.support.evidence import evidence

job_ids = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_-]{0,63}", fullmatch=True).map(check_job_id)
vectors = npst.arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32))
queries = st.builds(Query, vector=vectors) | st.builds(Query, image=st.binary(max_size=200))
NO_OBJECTS: list[Any] = [None, 5, "text", [], [1], True, b"bytes"]


def wire(table: Any) -> Any:
    """What arrives when `table` is sent: JSON, with no numbers that JSON has not."""
    return json.loads(json.dumps(table, allow_nan=False))


def search_table(**changes: Any) -> dict[str, Any]:
    return SearchJob("job", (Query(image=b"x"),)).to_json() | changes


@given(job_ids, st.integers(0, MAX_PARTITION))
def test_embed_messages_round_trip(job: str, partition: int) -> None:
    message = EmbedPartition(job, partition)
    assert EmbedPartition.from_json(wire(message.to_json())) == message


@given(job_ids)
def test_copies_messages_round_trip(job: str) -> None:
    assert EmbedCopies.from_json(wire(EmbedCopies(job).to_json())) == EmbedCopies(job)
    with pytest.raises(MessageError, match="copies"):
        EmbedCopies.from_json(EmbedPartition(job, 0).to_json())


@given(job_ids, st.integers(0, MAX_SHARD))
def test_shard_messages_round_trip(job: str, shard: int) -> None:
    message = FillShard(job, "0001-ab12cd34", shard, "0123456789abcdef")
    assert FillShard.from_json(wire(message.to_json())) == message
    for wrong in ({"shard": -1}, {"shard": True}, {"build": "../x"}, {"build": 5}, {"identity": "x"}, {"more": 1}):
        with pytest.raises(MessageError):
            FillShard.from_json(message.to_json() | wrong)


@given(job_ids)
def test_merge_messages_round_trip(job: str) -> None:
    assert MergeJob.from_json(wire(MergeJob(job).to_json())) == MergeJob(job)


@given(job_ids, st.lists(queries, min_size=1, max_size=5), st.integers(1, MAX_K), st.booleans())
def test_search_messages_round_trip_bit_for_bit(job: str, sent: list[Query], k: int, exact: bool) -> None:
    message = SearchJob.from_json(wire(SearchJob(job, tuple(sent), k, exact).to_json()))
    assert (message.job, message.k, message.exact, len(message.queries)) == (job, k, exact, len(sent))
    for query, original in zip(message.queries, sent, strict=True):
        assert query.image == original.image
        if original.vector is None:
            assert query.vector is None
        else:
            assert query.vector is not None
            assert query.vector.dtype == np.float32
            assert query.vector.tobytes() == original.vector.tobytes()


def test_vectors_of_other_types_and_layouts_travel_as_float32() -> None:
    for vector in (
        np.arange(6, dtype=np.float64)[::2],
        np.array([0, 2, 4], dtype=">f4"),
        np.array([0, 2, 4], np.float16),
    ):
        sent = Query.from_json(Query(vector=vector).to_json()).vector
        assert sent is not None
        assert sent.tolist() == [0.0, 2.0, 4.0]
        assert sent.flags.writeable


hits = st.builds(Hit, st.integers(1, MAX_K), st.integers(0, 2**62), st.text(), st.floats(-1, 1))


@given(st.lists(st.builds(Answer, st.lists(hits, max_size=4).map(tuple), st.floats(0, 1e6)), min_size=1, max_size=4))
def test_replies_round_trip(answers: list[Answer]) -> None:
    assert reply_from_json(wire(reply_to_json(answers))) == answers


@pytest.mark.parametrize("error", [QueryError("k is 0."), NoIndexYet("None yet."), ImageError("Cut.", "truncated")])
def test_an_error_travels_as_its_class_and_its_sentence(error: LookalikeError) -> None:
    found, good = reply_from_json(wire(reply_to_json([Answer(error=error), Answer()])))
    assert type(found.error) is type(error)
    assert str(found.error) == str(error)
    assert good.error is None


@pytest.mark.parametrize("status", ["quarantined", "truncated", "oversized", "not-an-image", "undecodable", "new-one"])
def test_the_status_of_an_image_travels_with_its_error(status: str) -> None:
    (answer,) = reply_from_json(wire(reply_to_json([Answer(error=ImageError("No.", status))])))
    assert isinstance(answer.error, ImageError)
    assert (answer.error.status, str(answer.error)) == (status, "No.")


def test_an_image_out_of_reach_is_unreadable_on_the_other_side_too() -> None:
    (answer,) = reply_from_json(wire(reply_to_json([Answer(error=OutOfReach("Down."))])))
    assert isinstance(answer.error, OutOfReach)
    assert (answer.error.status, str(answer.error)) == ("unreadable", "Down.")


def test_a_reply_of_a_worker_that_says_no_status_is_read_and_a_client_that_knows_none_reads_this_one() -> None:
    old = {"version": 1, "answers": [{"error": {"kind": "ImageError", "message": "Cut."}}]}
    (answer,) = reply_from_json(old)
    assert isinstance(answer.error, ImageError)
    assert (answer.error.status, str(answer.error)) == ("undecodable", "Cut.")
    for error in (QueryError("k is 0."), NoIndexYet("None yet.")):  # Nothing new for what is no image.
        (said,) = reply_to_json([Answer(error=error)])["answers"]
        assert said == {"error": {"kind": type(error).__name__, "message": str(error)}}


def test_an_error_of_a_newer_version_keeps_its_sentence() -> None:
    (answer,) = reply_from_json(
        {"version": 1, "answers": [{"error": {"kind": "NotInventedYet", "message": "Tomorrow.", "status": "x"}}]}
    )
    assert type(answer.error) is LookalikeError
    assert str(answer.error) == "Tomorrow."


@pytest.mark.parametrize("table", NO_OBJECTS)
def test_what_is_no_object_is_no_message(table: Any) -> None:
    for read in (EmbedPartition.from_json, MergeJob.from_json, SearchJob.from_json, reply_from_json):
        with pytest.raises(MessageError, match="must be a JSON object"):
            read(table)


@pytest.mark.parametrize("version", [0, 2, "1", 1.0, True, None, [1]])
def test_another_version_is_refused_and_named(version: Any) -> None:
    with pytest.raises(MessageError, match=r"this worker speaks version 1: run the same version"):
        EmbedPartition.from_json({"version": version, "job": "job", "partition": 0})


@pytest.mark.parametrize(
    "table",
    [
        {"version": 1, "job": "job"},
        {"version": 1, "job": "job", "partition": 0, "path": "/etc/passwd"},
        {"version": 1, "partition": 0},
        {"version": 1, "job": "job", "partition": 0, 5: 6},
        {"job": "job", "partition": 0},
    ],
)
def test_a_message_with_other_keys_is_refused(table: dict[Any, Any]) -> None:
    with pytest.raises(MessageError):
        EmbedPartition.from_json(table)


@pytest.mark.parametrize("job", ["..", "a/../b", "/etc", "a..b", "", ".", "x" * 65, "a:b", "a\0", None, 5, ["a"], {}])
def test_a_job_id_that_could_lead_elsewhere_is_refused_in_every_message(job: Any) -> None:
    for read, table in (
        (EmbedPartition.from_json, {"version": 1, "job": job, "partition": 0}),
        (MergeJob.from_json, {"version": 1, "job": job}),
        (SearchJob.from_json, search_table(job=job)),
    ):
        with pytest.raises(MessageError, match="can't name a job"):
            read(table)


@pytest.mark.parametrize("partition", [-1, MAX_PARTITION + 1, 10**30, 1.0, "1", None, True, False, [0], float("nan")])
def test_a_partition_that_is_no_number_of_one_is_refused(partition: Any) -> None:
    with pytest.raises(MessageError, match="partition must be a whole number from 0 to"):
        EmbedPartition.from_json({"version": 1, "job": "job", "partition": partition})


@pytest.mark.parametrize("k", [0, -1, MAX_K + 1, 10.0, "10", True, None])
def test_a_k_out_of_range_is_refused(k: Any) -> None:
    with pytest.raises(MessageError, match="k must be a whole number from 1 to 1000"):
        SearchJob.from_json(search_table(k=k))


@pytest.mark.parametrize("exact", [0, 1, "true", None])
def test_exact_is_a_boolean_and_nothing_like_one(exact: Any) -> None:
    with pytest.raises(MessageError, match="exact must be true or false"):
        SearchJob.from_json(search_table(exact=exact))


@pytest.mark.parametrize("sent", [[], None, {}, "text", 5])
def test_a_search_carries_a_list_of_queries(sent: Any) -> None:
    with pytest.raises(MessageError, match="list of 1 to 1024 queries"):
        SearchJob.from_json(search_table(queries=sent))


def test_more_queries_than_the_worker_takes_are_refused() -> None:
    query = Query(vector=np.ones(2, np.float32)).to_json()
    assert len(SearchJob.from_json(search_table(queries=[query] * 1_024)).queries) == 1_024
    assert len(SearchJob.from_json(search_table(queries=[query] * 5), max_queries=5).queries) == 5
    with pytest.raises(MessageError, match="not 5000"):
        SearchJob.from_json(search_table(queries=[query] * 5_000))
    with pytest.raises(MessageError, match="1 to 5 queries, not 6"):
        SearchJob.from_json(search_table(queries=[query] * 6), max_queries=5)


@pytest.mark.parametrize(
    "query",
    [
        *NO_OBJECTS,
        {},
        {"vector": "AAAAAA==", "path": "AAAA"},
        {"path": "/etc/passwd"},
        {"vector": None},
        {"vector": [0.1, 0.2]},
        {"image": 5},
        {"image": "not base64!"},
        {"image": "AAA"},
        {"image": "ÄÖÜß"},
        {"image": "AA\nAA"},
    ],
)
def test_a_query_that_is_none_is_refused(query: Any) -> None:
    with pytest.raises(MessageError, match="query"):
        SearchJob.from_json(search_table(queries=[query]))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 4095])
def test_a_vector_of_broken_floats_is_refused(size: int) -> None:
    text = base64.b64encode(bytes(size)).decode()
    with pytest.raises(MessageError, match=f"has {size} bytes; float32 values take 4 each"):
        Query.from_json({"vector": text})


keys = st.sampled_from(
    [
        "filter",
        "where",
        "ids",
        "version",
        "job",
        "partition",
        "queries",
        "k",
        "exact",
        "answers",
        "error",
        "image",
        "vector",
    ]
)
scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.integers() | st.floats() | st.text()


@given(st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner)))
def test_any_json_is_a_message_or_a_message_error(table: Any) -> None:
    for read in (EmbedPartition.from_json, MergeJob.from_json, SearchJob.from_json, Query.from_json, reply_from_json):
        with suppress(MessageError):
            read(table)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        5,
        "error",
        [],
        {},
        {"hits": []},
        {"hits": 5, "milliseconds": 1},
        {"hits": [], "milliseconds": "soon"},
        {"hits": [{}], "milliseconds": 1},
        {"hits": [{"rank": "1", "id": 1, "image_path": "a", "similarity": 1.0}], "milliseconds": 1},
        {"hits": [{"rank": 1, "id": 1, "image_path": None, "similarity": 1.0}], "milliseconds": 1},
        {"hits": [{"rank": 1, "id": 1, "image_path": "a", "similarity": None}], "milliseconds": 1},
        {"error": None},
        {"error": "text"},
        {"error": {"kind": ["QueryError"], "message": "x"}},
        {"error": {"message": "x"}},
        {"error": {"kind": "ImageError", "message": "x", "status": 5}},
        {"error": {"kind": "ImageError", "message": "x", "status": ["quarantined"]}},
    ],
)
def test_an_answer_that_is_none_is_refused(answer: Any) -> None:
    with pytest.raises(MessageError):
        reply_from_json({"version": 1, "answers": [answer]})


def test_a_reply_carries_a_list() -> None:
    with pytest.raises(MessageError, match="list of answers"):
        reply_from_json({"version": 1, "answers": {"0": {}}})


def test_a_huge_value_is_not_repeated_in_the_error() -> None:
    for table in (
        {"version": "9" * 10**6, "job": "job", "partition": 0},
        {"version": 1, "job": "x" * 10**6, "partition": 0},
        {"version": 1, "job": "job", "partition": "9" * 10**6},
        {"version": 1, "job": "job", "y" * 10**6: 0},
    ):
        with pytest.raises(MessageError) as refused:
            EmbedPartition.from_json(table)
        assert len(str(refused.value)) < 600


def test_every_task_has_the_queue_of_its_role() -> None:
    assert QUEUES == {"embed": EMBED_QUEUE, "merge": MERGE_QUEUE, "query": QUERY_QUEUE}
    assert TASK_QUEUES == {
        "lookalike.embed_partition": EMBED_QUEUE,
        "lookalike.embed_copies": EMBED_QUEUE,
        "lookalike.fill_shard": MERGE_QUEUE,
        "lookalike.find_neighbours": MERGE_QUEUE,
        "lookalike.compare_pairs": EMBED_QUEUE,
        "lookalike.change_job": EMBED_QUEUE,
        "lookalike.merge_job": MERGE_QUEUE,
        "lookalike.search": QUERY_QUEUE,
        "lookalike.make_thumbnail": QUERY_QUEUE,
    }
    assert len(set(QUEUES.values())) == 3


@pytest.mark.parametrize("kind", ["image", "vector"])
def test_what_is_too_long_is_refused_by_its_length_before_it_is_decoded(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: Any, **options: Any) -> bytes:
        raise AssertionError("It was decoded.")

    monkeypatch.setattr(base64, "b64decode", decode)
    with pytest.raises(MessageError, match=f"The {kind} of a query has 300,000 bytes, and at most"):
        Query.from_json({kind: "A" * 400_000}, 299_999)
    with pytest.raises(MessageError, match="at most 1,000 are read"):
        SearchJob.from_json(search_table(queries=[{"image": "A" * 4_000}]), 5, 1_000)


@given(st.binary(max_size=100))
def test_an_image_of_just_the_most_bytes_is_taken(data: bytes) -> None:
    table = Query(image=data).to_json()
    assert Query.from_json(table, len(data)).image == data
    if data:
        with pytest.raises(MessageError, match=f"has {len(data)} bytes"):
            Query.from_json(table, len(data) - 1)


def test_a_search_without_a_filter_is_what_it_was_before_there_were_filters() -> None:
    query = Query(vector=np.ones(2, np.float32))
    assert set(SearchJob("job", (query,)).to_json()) == {"version", "job", "k", "exact", "queries"}
    assert SearchJob.from_json(search_table()).filter is None


def test_a_search_carries_its_filter() -> None:
    query = Query(vector=np.ones(2, np.float32))
    for filter in (Filter(where="id > 5"), Filter(ids=np.array([3, 8]))):
        back = SearchJob.from_json(json.loads(json.dumps(SearchJob("job", (query,), filter=filter).to_json())))
        assert back.filter is not None
        assert back.filter.key == filter.key
    with pytest.raises(MessageError, match="filter"):
        SearchJob.from_json(search_table(filter=None))
    with pytest.raises(MessageError, match="must hold"):
        SearchJob.from_json(search_table(filters={"where": "true"}))


IDENTITY = "0123456789abcdef"


def test_a_search_carries_which_job_of_the_name_is_meant() -> None:
    message = SearchJob("job", (Query(vector=np.ones(2, np.float32)),), identity=IDENTITY)
    assert wire(message.to_json())["identity"] == IDENTITY
    assert SearchJob.from_json(wire(message.to_json())).identity == IDENTITY
    assert SearchJob.from_json(search_table()).identity is None


def test_what_is_asked_of_workers_carries_which_job_of_the_name_is_meant() -> None:
    for message in (EmbedPartition("job", 3, IDENTITY), EmbedCopies("job", IDENTITY), MergeJob("job", IDENTITY)):
        assert type(message).from_json(wire(message.to_json())) == message
        assert message.known_as == f"job:{IDENTITY}"
        assert replace(message, identity=None).known_as == "job"
        with pytest.raises(MessageError, match="identity must be 16 hex digits, not"):
            type(message).from_json(message.to_json() | {"identity": "x"})


@pytest.mark.parametrize("identity", [None, "", "0123456789ABCDEF", IDENTITY + "0", IDENTITY + "\n", 7, ["a" * 16]])
def test_an_identity_is_16_hex_digits(identity: object) -> None:
    with pytest.raises(MessageError, match="identity must be 16 hex digits, not"):
        SearchJob.from_json(search_table(identity=identity))


def test_a_reply_says_who_answered_where_it_is_known() -> None:
    by = AnsweredBy("query1@gpu0", "/mnt/jobs/job")
    hits = Answer((Hit(1, 2, "a.jpg", 0.5),), 1.0)
    found = reply_from_json(wire(reply_to_json([hits, Answer(error=QueryError("No."))], by)))
    assert [answer.answered_by for answer in found] == [by, by]
    assert found[0].hits == hits.hits
    assert reply_from_json(wire(reply_to_json([hits]))) == [hits]
    for strange in (None, {}, {"worker": "a"}, {"worker": "a", "job": 5}, ["worker", "job"]):
        with pytest.raises(MessageError, match="answered_by must hold the texts worker and job"):
            reply_from_json(reply_to_json([hits]) | {"answered_by": strange})


def test_an_answer_says_how_much_of_the_job_was_searched_and_versions_that_do_not_know_it_are_understood() -> None:
    hits = (Hit(1, 2, "a.jpg", 0.5),)
    answers = [Answer(hits, 1.0, searched=Searched(3_700, 10_000)), Answer(hits, 1.0)]
    reply = wire(reply_to_json(answers))
    assert reply_from_json(reply) == answers
    assert (answers[0].searched or Searched(0, 0)).share == 0.37
    # A client of before reads these keys of a reply and these of its answers, and refuses a reply with any other.
    assert reply.keys() == {"version", "answers"}
    assert reply["answers"][0].keys() - {"searched"} == {"hits", "milliseconds"} == reply["answers"][1].keys()


def test_what_a_later_version_says_of_hits_beside_what_is_known_is_passed_over() -> None:
    hits = (Hit(1, 2, "a.jpg", 0.5, SIMILAR, chance=0.1), Hit(2, 3, "b.jpg", 0.4, SAME_PICTURE, evidence(12)))
    reply = wire(reply_to_json([Answer(hits, 1.0)]))
    later = wire(reply)
    for hit in later["answers"][0]["hits"]:
        hit["perspective"] = [1.0, 2.0]
    later["answers"][0]["hits"][1]["evidence"]["colours"] = {"same": True}
    assert reply_from_json(later)[0].hits == hits == reply_from_json(reply)[0].hits
    for strange in (None, 7, [], ["rank"], {}, {"rank": 1, "perspective": 2}):
        later["answers"][0]["hits"][0] = strange
        with pytest.raises(MessageError, match=r"answer can't be read .*: run the same version everywhere"):
            reply_from_json(later)
    del later["answers"][0]["hits"][0]
    later["answers"][0]["hits"][0]["verdict"] = "the same place"
    with pytest.raises(MessageError, match="run the same version everywhere"):
        reply_from_json(later)


@pytest.mark.parametrize(
    "strange",
    [
        None,
        0.37,
        {},
        {"images": 3},
        {"images": 4, "listed": 3},
        {"images": -1, "listed": 3},
        {"images": True, "listed": 3},
    ],
)
def test_a_share_that_can_be_none_is_refused(strange: object) -> None:
    reply = reply_to_json([Answer((), 1.0, searched=Searched(1, 2))])
    reply["answers"][0]["searched"] = strange
    with pytest.raises(MessageError, match="answer can't be read"):
        reply_from_json(wire(reply))
