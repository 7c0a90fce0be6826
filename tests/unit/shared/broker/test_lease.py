import threading
from typing import Any

import pytest
import redis

from shared.broker.lease import _BEATS_PER_LEASE, _RELEASE, Lease, lease_key, wait_seconds

SECONDS = 20.0


class Redis:
    """Keys with an owner each; what it is asked is counted, and it can be away."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.asked = 0
        self.away: Exception | None = None

    def _ask(self) -> None:
        self.asked += 1
        if self.away is not None:
            raise self.away

    def set(self, key: str, value: str, nx: bool, px: int) -> bool:
        self._ask()
        return self.keys.setdefault(key, value) == value

    def eval(self, script: str, count: int, key: str, token: str, *rest: int) -> int:
        self._ask()
        if script == _RELEASE:
            return int(self.keys.get(key) == token and bool(self.keys.pop(key)))
        return int(self.keys.setdefault(key, token) == token)


class Clocks:
    def __init__(self) -> None:
        self.monotonic, self.wall = 100.0, 1_000_000.0

    def __call__(self) -> tuple[float, float]:
        return self.monotonic, self.wall

    def go(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


class NoThread:
    """Stands for the thread that renews: a test renews by hand."""

    def __init__(self, **options: Any) -> None:
        pass

    def start(self) -> None:
        pass

    def join(self) -> None:
        pass


@pytest.fixture
def server() -> Redis:
    return Redis()


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def held(server: Redis, clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> Lease:
    monkeypatch.setattr(threading, "Thread", NoThread)
    client: Any = server
    lease = Lease(client, "clothes", 3, "embed@a", SECONDS, "clothes partition 4/9", clocks)
    assert lease.acquire()
    server.asked = 0
    return lease


def test_a_lease_that_somebody_has_is_not_taken(server: Redis) -> None:
    server.keys[lease_key("clothes", 3)] = "embed@b|token"
    client: Any = server
    assert not Lease(client, "clothes", 3, "embed@a", SECONDS).acquire()


def test_what_was_renewed_within_half_its_time_is_held_without_asking(
    held: Lease, server: Redis, clocks: Clocks
) -> None:
    server.keys.clear()
    server.keys[lease_key("clothes", 3)] = "embed@b|token"
    clocks.go(SECONDS / 2)
    assert held.held()
    assert server.asked == 0


@pytest.mark.parametrize("clock", ["monotonic", "wall"])
def test_after_a_stop_of_any_kind_the_server_is_asked_afresh(
    held: Lease, server: Redis, clocks: Clocks, clock: str
) -> None:
    setattr(clocks, clock, getattr(clocks, clock) + SECONDS * 2)  # The other clock stood still, or was set back.
    assert held.held()
    assert server.asked == 1
    server.keys[lease_key("clothes", 3)] = "embed@b|token"
    setattr(clocks, clock, getattr(clocks, clock) + SECONDS * 2)
    assert not held.held()
    assert not held.held()
    assert server.asked == 2, "what is lost stays lost"


def test_a_question_counts_from_before_it_was_asked(held: Lease, server: Redis, clocks: Clocks) -> None:
    ask = server._ask

    def slow() -> None:
        clocks.go(SECONDS)  # As when the process is stopped while it waits for the answer.
        ask()

    server._ask = slow  # type: ignore[method-assign]
    held._renew()
    server._ask = ask  # type: ignore[method-assign]
    assert held.held()
    assert server.asked == 2, "the answer to the first was too old to be believed"


def test_a_broker_that_hangs_is_asked_once_in_half_a_lease_and_said_once_to_be_away(
    held: Lease, server: Redis, clocks: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    server.away = redis.exceptions.TimeoutError("slow")
    for _ in range(40):  # Forty commits in eighty seconds.
        clocks.go(2)
        assert held.held()
    assert server.asked == 6
    assert [record.getMessage() for record in caplog.records] == [
        "clothes partition 4/9: its lease could not be renewed (slow); the work goes on."
    ]
    server.away = None
    clocks.go(SECONDS)
    assert held.held()
    assert "that is over" in caplog.records[-1].getMessage()


def test_a_server_that_has_forgotten_everything_gives_the_lease_again(
    held: Lease, server: Redis, clocks: Clocks
) -> None:
    server.keys.clear()
    clocks.go(SECONDS)
    assert held.held()
    assert server.keys[lease_key("clothes", 3)].startswith("embed@a|")


def test_a_beat_and_two_waits_fit_into_half_a_lease() -> None:
    for seconds in (1.0, 2.0, SECONDS, 600.0):
        assert seconds / _BEATS_PER_LEASE + 2 * wait_seconds(seconds) < seconds / 2
        assert 0 < wait_seconds(seconds) <= 2


def test_what_is_ours_is_given_back_and_what_is_not_stays(held: Lease, server: Redis) -> None:
    held.release()
    assert server.keys == {}
    server.keys[lease_key("clothes", 3)] = "embed@b|token"
    held.release()
    assert server.keys == {lease_key("clothes", 3): "embed@b|token"}


def test_a_release_that_fails_is_a_line_that_names_job_and_partition(
    held: Lease, server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    server.away = redis.exceptions.ConnectionError("gone")
    held.release()
    assert caplog.messages == ["clothes partition 4/9: its lease could not be given back (gone); it ends by itself."]
