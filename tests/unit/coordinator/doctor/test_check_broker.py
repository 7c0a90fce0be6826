import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
import redis

from coordinator.doctor import check_broker
from coordinator.doctor.check_broker import Broker, given, look, mend, policy, reached, room
from coordinator.doctor.checks import Check
from shared.errors import BrokerUnreachable
from shared.settings import Settings

URL = "redis://user:p%40ss@host:6380/1"
GIVEN = Settings(broker_url=URL)


def broker(round_trip: float = 0.001, url: str = URL, **info: Any) -> Broker:
    known = {"redis_version": "7.2.4", "maxmemory": 0, "maxmemory_policy": "noeviction", "used_memory": 2_000_000}
    return Broker(url, known | info, round_trip, 0.0, 0.001)


def told(found: Check) -> tuple[str, str]:
    return str(found.verdict), found.sentence


def test_the_server_that_answers_is_named_without_its_secrets() -> None:
    assert told(reached(broker(), GIVEN)) == ("ok", "Redis 7.2.4 at redis://**@host:6380/1, 1.0 ms a round trip.")
    assert reached(broker(valkey_version="9.1.2"), GIVEN).sentence.startswith("Valkey 9.1.2 at ")


def test_a_slow_broker_is_a_warning_and_one_that_loses_leases_a_problem() -> None:
    verdict, sentence = told(reached(broker(0.3), GIVEN))
    assert (verdict, "300.0 ms" in sentence) == ("warning", True)
    verdict, sentence = told(reached(broker(2.5), GIVEN))
    assert verdict == "problem"
    assert "a lease waits 2 s for an answer, and would be lost" in sentence
    assert reached(broker(0.25), Settings(broker_url=URL, lease_seconds=1)).verdict == "problem"


@pytest.mark.parametrize("name", ["allkeys-lru", "allkeys-random", "volatile-lru", "volatile-ttl"])
def test_any_policy_but_noeviction_is_a_warning_with_the_command_that_mends_it(name: str) -> None:
    verdict, sentence = told(policy(broker(maxmemory_policy=name, maxmemory=10**9)))
    assert verdict == "warning"
    lost = "leases" if name.startswith("volatile") else "messages and leases"
    assert f"maxmemory-policy {name}: when it is full, the broker drops {lost} without a word." in sentence
    assert (
        "`redis-cli -h host -p 6380 CONFIG SET maxmemory-policy noeviction` (its password in REDISCLI_AUTH)" in sentence
    )


def test_noeviction_is_ok_and_one_that_is_not_told_a_warning() -> None:
    assert policy(broker()).verdict == "ok"
    unknown = broker()
    del unknown.info["maxmemory_policy"]
    assert told(policy(unknown)) == (
        "warning",
        "The broker does not tell its maxmemory-policy: see that it is noeviction.",
    )


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("redis://host/0", "redis-cli -h host -p 6379 "),
        ("rediss://:secret@host:6380/3", "redis-cli -h host -p 6380 --tls "),
        ("redis+socket:///tmp/a socket.sock", "redis-cli -s '/tmp/a socket.sock' "),
        ("unix:///run/redis.sock", "redis-cli -s /run/redis.sock "),
    ],
)
def test_the_command_that_mends_reaches_the_same_server(url: str, command: str) -> None:
    assert mend(url) == f"{command}CONFIG SET maxmemory-policy noeviction"


@pytest.mark.parametrize(
    ("used", "most", "verdict", "sentence"),
    [
        (2_000_000, 0, "ok", "None set; 2.0 MB are used."),
        (2_000_000, 10_000_000, "ok", "2.0 MB of 10.0 MB are used."),
        (9_000_000, 10_000_000, "warning",
         "9.0 MB of 10.0 MB are used: raise maxmemory, or jobs wait until there is room."),
    ],
)  # fmt: skip
def test_a_broker_that_is_nearly_full_is_a_warning(used: int, most: int, verdict: str, sentence: str) -> None:
    assert told(room(broker(used_memory=used, maxmemory=most))) == (verdict, sentence)


class FakeRedis:
    """A broker whose clock is three seconds ahead."""

    def __init__(self, info: dict[str, Any] | Exception) -> None:
        self._info = info

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None: ...

    def ping(self) -> bool:
        return True

    def info(self) -> dict[str, Any]:
        if isinstance(self._info, Exception):
            raise self._info
        return self._info

    def time(self) -> tuple[int, int]:
        return 1_003, 500_000


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    def answer(info: Any) -> None:
        monkeypatch.setattr(check_broker, "require_working_broker", lambda settings: None)
        monkeypatch.setattr(check_broker, "connect", lambda settings: FakeRedis(info))

    return answer


def test_its_clock_is_compared_with_the_middle_of_the_round_trip(answering: Callable[[Any], None]) -> None:
    answering({"redis_version": "7"})
    times = iter([1_000.0, 1_001.0])
    found = check_broker.ask(GIVEN, lambda: next(times))
    assert (found.ahead, found.clock_error) == (3.0, 0.5)
    assert 0 <= found.round_trip < 1


def test_all_three_things_are_said_of_a_broker_that_answers(answering: Callable[[Any], None]) -> None:
    answering({"redis_version": "7", "maxmemory_policy": "noeviction"})
    found, checks = look(GIVEN)
    assert found is not None
    assert [check.subject for check in checks] == ["broker", "maxmemory", "policy"]


def test_a_broker_that_tells_nothing_of_itself_is_a_warning(answering: Callable[[Any], None]) -> None:
    answering(redis.exceptions.NoPermissionError("user p@ss has no permissions to run 'info'"))
    found, (check,) = look(GIVEN)
    assert found is None
    assert check.verdict == "warning"
    assert "allow INFO and TIME" in check.sentence
    assert "p@ss" not in check.sentence


def test_a_broker_that_is_away_is_a_problem_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(settings: Settings) -> None:
        raise BrokerUnreachable("No broker answers at redis://user:p%40ss@host:6380/1 (p@ss).")

    monkeypatch.setattr(check_broker, "require_working_broker", away)
    found, (check,) = look(GIVEN)
    assert found is None
    assert told(check) == ("problem", "No broker answers at redis://**@host:6380/1 (**).")


def test_a_broker_that_refuses_what_queues_need_is_a_problem_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrow:
        """A broker whose user may do all but what brings a message."""

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *raised: object) -> None: ...

        def __getattr__(self, command: str) -> Callable[..., None]:
            def ask(*arguments: Any, **options: Any) -> None:
                if command == "brpop":
                    raise redis.exceptions.NoPermissionError("User user has no permissions to run the 'brpop' command")

            return ask

    monkeypatch.setattr("shared.broker.connection.connect", lambda settings: Narrow())
    found, (check,) = look(GIVEN)
    assert found is None
    assert check.verdict == "problem"
    assert check.sentence.startswith("The broker redis://**@host:6380/1 can't be used: its user lacks a permission")
    assert "'brpop'" in check.sentence


def test_doctor_waits_for_no_broker_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    hung = threading.Event()
    monkeypatch.setattr(check_broker, "ASK_SECONDS", 0.05)
    monkeypatch.setattr(check_broker, "require_working_broker", lambda settings: hung.wait(60))
    found, (check,) = look(GIVEN)
    hung.set()
    assert found is None
    assert told(check) == (
        "problem",
        "redis://**@host:6380/1 gives no answer within 0.05 s: start it again, or pass another --broker.",
    )


def test_a_broker_that_is_given_is_asked() -> None:
    assert given(GIVEN, None, ExitStack()) == (GIVEN, [])


def test_without_one_none_is_started_and_that_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for root in (None, tmp_path / "jobs"):
        settings, (check,) = given(Settings(), root, ExitStack())
        assert settings is None
        assert check.verdict == "ok"
    assert list(tmp_path.iterdir()) == []


def test_without_one_and_without_the_embedded_one_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_broker, "find_spec", lambda name: None)
    settings, (check,) = given(Settings(), None, ExitStack())
    assert settings is None
    assert check.verdict == "problem"
    assert "pip install 'lookalike[worker]'" in check.sentence
