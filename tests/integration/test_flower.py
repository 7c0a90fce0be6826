"""The real Flower watches a real job: progress inside a running task, readable arguments, no access for others."""

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
import redis

from tests.integration.faults.bench import is_ready
from tests.integration.faults.faults import Faults
from tests.support.processes import (
    Process,
    commands_with,
    environment,
    free_port,
    redis_server,
    run,
    valkey_binary,
    wait_until,
)

pytestmark = pytest.mark.timeout(600)


def fetch(url: str) -> str | None:
    try:
        with urlopen(url, timeout=30) as reply:
            text: str = reply.read().decode()
            return text
    except (URLError, ConnectionError, TimeoutError):
        return None


def test_flower_shows_progress_inside_a_running_task_and_the_summary_at_its_end(
    photos: Path, broker_url: str, tmp_path: Path, start: Callable[..., Process]
) -> None:
    root, port = tmp_path / "jobs", free_port()
    root.mkdir()
    env = environment(CELERY_BROKER_URL=broker_url, LOOKALIKE_JOBS_ROOT=str(root))
    # Long enough for each partition to be seen under way.
    env |= Faults(tmp_path / "faults").environment(light=True, seconds_per_batch=0.3)
    page = f"http://127.0.0.1:{port}"
    flower = start("flower", "--port", str(port), env=env)
    wait_until(lambda: fetch(f"{page}/healthcheck") == "OK", "Flower answers")
    start("worker", "embed", "merge", "--name", "both", env=env)
    coordinator = start("index", photos, root / "photos", "--chunk-size", "20", "--partition-size", "120", env=env)

    def task_rows() -> list[dict[str, str]]:
        # What the Tasks page asks for to fill its table.
        order = "search[value]=&order[0][column]=0&order[0][dir]=asc&columns[0][data]=name"
        table = fetch(f"{page}/tasks/datatable?draw=1&start=0&length=50&{order}")
        return json.loads(table)["data"] if table else []

    progress = re.compile(
        r"^\d+% · \d+/120 · [\d,]+ img/s · (?:\d+ min )?\d+ s left · bottleneck: (read|decode|model|write) \d+% \(.+\)$"
    )

    def under_way() -> list[dict[str, str]]:
        return [row for row in task_rows() if row["state"] == "STARTED" and progress.match(row["result"] or "")]

    (row, *_) = wait_until(under_way, "a running task shows its progress")
    assert row["name"] == "embed_partition"
    assert row["args"] in ("photos partition 1/2", "photos partition 2/2")
    first = row["result"]
    wait_until(lambda: any(other["result"] != first for other in under_way()), "the progress moves")

    assert coordinator.wait() == 0, coordinator.output
    ended = wait_until(
        lambda: (rows := task_rows()) and len(rows) >= 4 and all(row["state"] == "SUCCESS" for row in rows) and rows,
        "all tasks have ended",
    )
    results = {row["args"]: row["result"] for row in ended}
    assert results["photos partition 1/2"].startswith("sealed · 120 embedded · 0 failed")
    assert results["photos partition 2/2"].startswith("sealed · 120 embedded · 0 failed")
    assert results["photos copies"] == "48 copies of 8 images"
    assert results["photos merge"].startswith("Flat · 240 embeddings · recall@10 1.000")
    assert "password" not in flower.output


def test_no_password_and_no_user_of_the_broker_is_shown_anywhere(tmp_path: Path, start: Callable[..., Process]) -> None:
    server_port, port = free_port(), free_port()
    user, password = "watcher-7", "s3cr3t-pw"
    with redis_server(valkey_binary(), tmp_path / "valkey", server_port) as server:
        with redis.Redis(port=server_port) as client:
            client.acl_setuser(user, enabled=True, passwords=[f"+{password}"], categories=["+@all"], keys=["*"],
                               channels=["*"])  # fmt: skip
            client.acl_setuser("default", enabled=False)
        url = f"redis://{user}:{password}@127.0.0.1:{server_port}/0"
        env = environment(CELERY_BROKER_URL=url, LOOKALIKE_JOBS_ROOT=str(tmp_path))
        flower = start("flower", "--port", str(port), env=env)
        worker = start("worker", "merge", "--name", "w", "--loglevel", "DEBUG", env=env)
        page = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_ready(worker), "the worker is ready")
        name = f"w@{socket.gethostname()}"
        wait_until(lambda: fetch(f"{page}/worker/{name}?refresh=1"), "Flower knows the worker")
        wait_until(lambda: "broker_url" in (fetch(f"{page}/worker/{name}") or ""), "its settings are shown")
        shown = {path: fetch(page + path) or "" for path in ("/", "/workers", "/tasks", "/broker", f"/worker/{name}")}
        assert "redis://**@127.0.0.1" in shown["/broker"]
        wrong = run("index", tmp_path, tmp_path / "job", env=env | {"CELERY_BROKER_URL": url.replace("pw", "wrong")})
        bad = run("search", tmp_path / "job", "x.jpg", env=env | {"CELERY_BROKER_URL": url.replace("pw", "wrong")})
        shown |= {"wrong": wrong.stderr + wrong.stdout, "bad": bad.stderr + bad.stdout}
        assert commands_with(str(port)), "the command lines are looked at"
        assert not commands_with(password)
        server.kill()
        wait_until(lambda: "The broker does not answer" in worker.output, "the worker has noticed")
        shown |= {"gone": fetch(f"{page}/broker") or "", "flower": flower.output, "worker": worker.output}
    for place, text in shown.items():
        assert text, place
        assert "s3cr3t" not in text, place
        assert user not in text, place


def test_flower_listens_on_this_machine_alone_and_keeps_its_api_shut(
    broker_url: str, tmp_path: Path, start: Callable[..., Process]
) -> None:
    port = free_port()
    start("flower", "--port", str(port), env=environment(CELERY_BROKER_URL=broker_url))
    wait_until(lambda: fetch(f"http://127.0.0.1:{port}/healthcheck") == "OK", "Flower answers")
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=60):
        pass  # A server that listens on all addresses answers on this one as well.
    with pytest.raises(HTTPError, match="401"):
        urlopen(f"http://127.0.0.1:{port}/api/tasks", timeout=60)
