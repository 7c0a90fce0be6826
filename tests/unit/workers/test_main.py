"""A worker process: what it makes of its arguments, and what it does not load."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from coordinator.local.workers import worker_command
from shared.processes.own import module_command
from workers.__main__ import main

COMMAND_LINE = ("celery.bin", "flower", "tornado", "prompt_toolkit")
MODELS = ("pandas", "tensorflow", "keras", "openvino", "faiss", "cv2")


@pytest.mark.parametrize(
    ("roles", "loglevel", "made"),
    [
        (
            ["embed", "merge"],
            None,
            {"queues": "embed,merge", "concurrency": 1, "loglevel": "INFO", "task_events": True},
        ),
        (["query"], "ERROR", {"queues": "query", "concurrency": 3, "loglevel": "ERROR", "task_events": False}),
    ],
)
def test_it_is_the_worker_that_its_command_line_asks_for(
    monkeypatch: pytest.MonkeyPatch, roles: list[str], loglevel: str | None, made: dict[str, Any]
) -> None:
    asked: list[dict[str, Any]] = []

    def worker(**options: Any) -> Any:
        asked.append(options)
        return SimpleNamespace(start=lambda: None, exitcode=70)

    stand_in: Any = SimpleNamespace(app=SimpleNamespace(Worker=worker))
    monkeypatch.setitem(sys.modules, "workers.app", stand_in)
    command = worker_command(roles, "here", loglevel, query_threads=3)
    assert command[:4] == module_command("workers")
    monkeypatch.setattr(sys, "argv", command[3:])
    assert main() == 70
    (options,) = asked
    assert options["hostname"].startswith("here@")
    assert made.items() <= options.items()
    assert (options["pool_cls"], options["without_gossip"], options["without_mingle"]) == ("threads", True, True)


def test_it_loads_nothing_that_it_does_not_need_to_wait_for_a_task() -> None:
    program = f"""
import sys
from workers.__main__ import main
from workers.app import app
app.Worker.start = lambda worker: None
sys.argv = {worker_command(["embed", "merge", "query"], "here")[3:]!r}
assert main() == 0
assert "workers.tasks.embed" in sys.modules, "the tasks are there"
from workers.tasks.runtime import WakesAtSignals
assert WakesAtSignals in app.steps["consumer"], "a signal wakes its loop"
from workers.tasks.transport.connection import GuardedConnection
assert app.amqp.Connection is GuardedConnection
print([name for name in {COMMAND_LINE + MODELS!r} if name in sys.modules])
"""
    environment = os.environ | {"LOOKALIKE_BROKER_URL": "redis://127.0.0.1:1"}  # It is not spoken to.
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
