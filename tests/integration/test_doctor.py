"""`lookalike doctor` against a real broker, real workers with right and wrong clocks, and real images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from coordinator.doctor import check_workers
from coordinator.doctor.check_workers import Worker
from shared.settings import Settings
from tests.integration.faults.faults import light_model
from tests.support.processes import Process, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)

LATE = """
import time
_real = time.time
time.time = lambda: _real() + 100
"""


def doctor(*arguments: str | Path, status: int = 0, env: dict[str, str] | None = None) -> dict[str, Any]:
    done = run("doctor", *arguments, "--json", env=env, timeout=280)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {check["subject"]: check["verdict"] for check in found["checks"]}


def sentence(found: dict[str, Any], subject: str) -> str:
    (check,) = [check for check in found["checks"] if check["subject"] == subject]
    return str(check["sentence"])


def test_a_broker_that_may_drop_what_it_holds_is_a_warning_until_the_command_is_typed(broker_url: str) -> None:
    with redis.Redis.from_url(broker_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "100mb")
        found = doctor("--broker", broker_url)
        assert verdicts(found)["policy"] == "warning"
        told = sentence(found, "policy")
        assert "maxmemory-policy allkeys-lru: when it is full" in told
        host, port = broker_url.removeprefix("redis://").removesuffix("/0").split(":")
        typed = f"redis-cli -h {host} -p {port} CONFIG SET maxmemory-policy noeviction"
        assert f"`{typed}`" in told
        client.execute_command(*typed.split()[5:])  # What redis-cli sends, as it is not installed everywhere.
    found = doctor("--broker", broker_url)
    assert verdicts(found)["policy"] == "ok"
    assert verdicts(found)["maxmemory"] == "ok"
    assert sentence(found, "broker").startswith("Valkey ")


def test_a_password_is_shown_nowhere(broker_url: str) -> None:
    with redis.Redis.from_url(broker_url) as client:
        client.config_set("requirepass", "sesame-open")
    right, wrong = (broker_url.replace("//", f"//:{word}@") for word in ("sesame%2Dopen", "sesame%2Dshut"))
    for url, status, more in ((right, 0, []), (wrong, 1, ["--json"])):
        done = run("doctor", "--broker", url, *more)
        assert done.returncode == status, done.stdout
        assert "sesame" not in done.stdout + done.stderr
        assert "**@127.0.0.1" in done.stdout


def answering(settings: Settings, count: int) -> list[Worker]:
    return wait_until(lambda: len(found := check_workers.ask(settings)) == count and found, f"{count} workers answer")


def answered(broker_url: str, count: int) -> dict[str, Any]:
    """What doctor says once it has heard that many workers: on a busy machine one may answer too late for it."""
    return wait_until(
        lambda: sentence(found := doctor("--broker", broker_url), "workers").startswith(f"{count} answer") and found,
        "doctor hears the workers",
    )


def test_clocks_of_workers_are_compared_and_one_that_is_wrong_is_named(
    broker_url: str, tmp_path: Path, start: Callable[..., Process]
) -> None:
    settings = Settings(broker_url=broker_url)
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "sitecustomize.py").write_text(LATE)
    begin = ["--jobs-root", str(tmp_path), "--broker", broker_url, "--name"]
    start("worker", "embed", *begin, "right")
    (right,) = answering(settings, 1)
    assert right.name.startswith("right@")
    assert right.queues == ("embed",)
    assert right.ahead is not None
    assert abs(right.ahead) <= right.clock_error, "its clock is ours"
    found = answered(broker_url, 1)
    assert verdicts(found)["clocks"] == "ok"
    assert verdicts(found)["versions"] == "ok"
    assert sentence(found, "workers").startswith("1 answers: 1 embed; nobody takes merge or query")

    start("worker", "merge", "query", *begin, "late", env=environment(PYTHONPATH=str(tmp_path / "late")))
    late, _ = answering(settings, 2)
    assert late.ahead is not None
    assert abs(late.ahead - 100) <= late.clock_error
    found = answered(broker_url, 2)
    assert verdicts(found)["workers"] == "ok"
    assert verdicts(found)["clocks"] == "warning"
    assert sentence(found, "clocks").startswith(f"{late.name} is ")
    assert f"ahead of {right.name}" in sentence(found, "clocks")


def test_a_folder_of_images_is_sampled_and_what_it_takes_is_predicted(few_photos: Path, tmp_path: Path) -> None:
    job = tmp_path / "jobs" / "few"
    light = environment() | light_model()
    found = doctor(few_photos, "--job", job, "--seconds", "60", env=light)
    assert found["source"]["listed"] == 64
    measured, prediction = found["measured"], found["prediction"]
    assert (measured["read"], measured["embedded"]) == (64, 60)
    assert measured["failed"] == {"empty": 1, "not-an-image": 1, "truncated": 1, "vanished": 1}
    assert all(measured["spent"][stage] > 0 for stage in ("read", "decode", "model"))
    assert verdicts(found)["sample"] == "warning", "a sixteenth of it can't be read"
    assert verdicts(found)["bottleneck"] == "ok"
    assert prediction["sessions"] == 1
    assert prediction["low"] <= prediction["seconds"] <= (prediction["high"] or prediction["seconds"])
    assert not job.exists()

    # What was said of the disk is what the job then takes: four rows less, as those images have no embedding.
    assert run("index", few_photos, job, env=light, timeout=280).returncode == 0
    (embeddings,) = (job / "img_emb").glob("*.npy")
    assert prediction["embeddings"] - embeddings.stat().st_size == 4 * 2 * measured["dim"]
