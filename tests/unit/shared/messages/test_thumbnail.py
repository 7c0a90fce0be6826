"""The messages of thumbnails: what is sent comes out again, and nothing else goes in."""

from typing import Any

import pytest

from shared.errors import ImageError, MessageError
from shared.messages.tasks import QUERY_QUEUE, THUMBNAIL_TASK, is_of_queue
from shared.messages.thumbnail import MakeThumbnail, failed_to_json, made_to_json, thumbnail_from_json

MESSAGE = MakeThumbnail("photos", 7, 256, "ab" * 32, "0" * 16)


def test_a_message_comes_out_as_it_went_in() -> None:
    assert MakeThumbnail.from_json(MESSAGE.to_json()) == MESSAGE
    plain = MakeThumbnail("photos", 7, 256, "ab" * 32)
    assert MakeThumbnail.from_json(plain.to_json()) == plain


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"job": "../x"}, {"image": -1}, {"image": "7"}, {"side": 15}, {"side": 1_025}, {"side": True},
     {"sha256": "ab"}, {"sha256": "AB" * 32}, {"sha256": None}, {"identity": "x"}, {"more": 1}],
)  # fmt: skip
def test_any_other_message_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        MakeThumbnail.from_json(MESSAGE.to_json() | change)


def test_a_reply_carries_the_thumbnail_or_why_there_is_none() -> None:
    assert thumbnail_from_json(made_to_json(b"jpeg")) == b"jpeg"
    with pytest.raises(ImageError, match="It is gone") as raised:
        thumbnail_from_json(failed_to_json(ImageError("It is gone.", "vanished")))
    assert raised.value.status == "vanished"
    for table in ({"version": 1}, {"version": 1, "jpeg": "?"}, {"version": 1, "jpeg": 3}, {"version": 1, "error": {}}):
        with pytest.raises(MessageError):
            thumbnail_from_json(table)


@pytest.mark.parametrize("queue", [QUERY_QUEUE, "query.shards-0-3"])
def test_query_workers_make_thumbnails(queue: str) -> None:
    assert is_of_queue(THUMBNAIL_TASK, queue)
    assert not is_of_queue(THUMBNAIL_TASK, "embed")
