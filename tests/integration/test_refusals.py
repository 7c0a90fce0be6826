"""Brokers that answer and will never do what is asked: the commands end at once, with what is to be changed."""

from pathlib import Path

import pytest
import redis

from shared.broker.connection import require_working_broker
from shared.errors import BrokerRefuses
from shared.settings import Settings
from tests.support.images.photographs import make_photos
from tests.support.processes import (
    LOOKALIKE,
    Process,
    environment,
    free_port,
    redis_server,
    run,
    valkey_binary,
    wait_until,
)

pytestmark = pytest.mark.timeout(300)
ALL = "~* &* +@all"


@pytest.mark.parametrize(
    ("rules", "what"),
    [
        (f"{ALL} -set", "'set'"),
        (f"{ALL} -brpop", "'brpop'"),
        (f"{ALL} -eval", "'eval'"),
        (f"{ALL} -publish", "'publish'"),
        ("~other:* &* +@all", "ACL SETUSER"),
        ("~lookalike:* &* +@all", "ACL SETUSER"),
    ],
)
def test_a_permission_that_is_missing_is_named_by_what_index_and_worker_ask_before_they_begin(
    broker_url: str, rules: str, what: str
) -> None:
    with redis.Redis.from_url(broker_url) as client:
        client.execute_command("ACL", "SETUSER", "narrow-7", "on", ">s3cr3t-pw", *rules.split())
    with pytest.raises(BrokerRefuses, match="its user lacks a permission") as refused:
        require_working_broker(Settings(broker_url=broker_url.replace("//", "//narrow-7:s3cr3t-pw@")))
    assert what in str(refused.value)
    assert "narrow-7" not in str(refused.value)


def test_a_permission_that_is_missing_ends_index_and_worker_at_once_and_is_named(
    broker_url: str, tmp_path: Path
) -> None:
    make_photos(tmp_path / "photos", 1)
    with redis.Redis.from_url(broker_url) as client:
        client.execute_command("ACL", "SETUSER", "narrow-7", "on", ">s3cr3t-pw", *f"{ALL} -brpop".split())
    env = environment(CELERY_BROKER_URL=broker_url.replace("//", "//narrow-7:s3cr3t-pw@"))
    shown = broker_url.replace("//", "//**@")
    for command in (("index", tmp_path / "photos", tmp_path / "job"), ("worker", "embed", "--jobs-root", tmp_path)):
        ended = run(*command, env=env)
        assert ended.returncode == 1
        assert f"The broker {shown} can't be used: its user lacks a permission" in ended.stderr
        assert "'brpop'" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert "narrow-7" not in ended.stderr


def test_a_replica_ends_index_and_worker_at_once(tmp_path: Path) -> None:
    port = free_port()
    make_photos(tmp_path / "photos", 1)
    with redis_server(valkey_binary(), tmp_path / "valkey", port):
        with redis.Redis(port=port) as client:
            client.replicaof("127.0.0.1", str(free_port()))
            client.config_set("replica-serve-stale-data", "yes")
        env = environment(CELERY_BROKER_URL=f"redis://127.0.0.1:{port}/0")
        for command in (("index", tmp_path / "photos", tmp_path / "job"), ("worker", "embed", "--jobs-root", tmp_path)):
            ended = run(*command, env=env)
            assert ended.returncode == 1
            assert "it is a replica, which takes no writes: give the address of its primary" in ended.stderr


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("ACL", "SETUSER", "narrow-7", "-brpop"), "its user lacks a permission"),
        (("ACL", "DELUSER", "narrow-7"), "it does not take this user and password"),
    ],
)
def test_a_worker_that_loses_its_permission_ends_and_says_so(
    tmp_path: Path, change: tuple[str, ...], what: str
) -> None:
    port = free_port()
    with redis_server(valkey_binary(), tmp_path / "valkey", port), redis.Redis(port=port) as client:
        client.execute_command("ACL", "SETUSER", "narrow-7", "on", ">s3cr3t-pw", *ALL.split())
        env = environment(CELERY_BROKER_URL=f"redis://narrow-7:s3cr3t-pw@127.0.0.1:{port}/0")
        command = [LOOKALIKE, "worker", "embed", "--jobs-root", str(tmp_path)]
        worker = Process(command, tmp_path / "worker.log", env)
        try:
            wait_until(lambda: " ready." in worker.output, "the worker is ready")
            client.execute_command(*change)
            assert worker.wait() == 1
        finally:
            worker.stop()
    assert f"The broker redis://**@127.0.0.1:{port}/0 can't be used: {what}" in worker.output
    assert "This worker ends; what is committed is safe." in worker.output
    assert "Traceback" not in worker.output
    assert "narrow-7" not in worker.output
