import logging
from typing import Any

import pytest
import redis

from shared.broker.troubles import Trouble, report_trouble, reported_troubles


def test_trouble_that_can_not_be_told_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    class Away:
        def pipeline(self) -> None:
            raise redis.exceptions.ConnectionError("gone")

    client: Any = Away()
    with caplog.at_level(logging.WARNING):
        report_trouble(client, "clothes", "embed@a", "Full.")
    assert caplog.messages == ["clothes: its coordinator could not be told of the trouble (gone)."]


def test_troubles_are_read_by_worker() -> None:
    class Table:
        def hgetall(self, key: str) -> dict[str, str]:
            return {"b": "2"} if "times" in key else {"b": "Full.", "a": "Empty."}

    client: Any = Table()
    assert reported_troubles(client, "clothes") == [Trouble("a", "Empty.", 1), Trouble("b", "Full.", 2)]
