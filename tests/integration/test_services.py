"""What compose.yaml starts, for real but without Docker: each service's own command and health check, one broker."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx2
import pytest
from ruamel.yaml import YAML

from coordinator.client.client import Client
from tests.integration.faults.faults import light_model
from tests.support.http_api import READ_KEY, key_file, with_key
from tests.support.processes import (
    PATIENCE_SECONDS,
    Process,
    answers,
    environment,
    free_port,
    valkey_binary,
    wait_until,
)

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
WORKERS = ("embed", "merge", "query")


class Stack:
    """The services of compose.yaml with its paths and ports moved to this test's own."""

    def __init__(self, directory: Path, photos: Path) -> None:
        self.services: dict[str, Any] = YAML(typ="safe").load(ROOT / "compose.yaml")["services"]
        self.directory, self.photos = directory, photos
        self.jobs = directory / "jobs"
        self.jobs.mkdir()
        self.redis_port, self.flower_port, self.serve_port = free_port(), free_port(), free_port()
        self.keys = key_file(directory)
        self.url = f"redis://127.0.0.1:{self.redis_port}/0"

    def here(self, text: str) -> str:
        """`text` of compose.yaml as it is meant on this machine."""
        text = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", text).replace("$$", "$")
        text = re.sub(r"^/jobs\b", str(self.jobs), text)
        text = re.sub(r"^/photos\b", str(self.photos), text).replace("/run/secrets/serve_keys", str(self.keys))
        return text.replace(":5555/", f":{self.flower_port}/").replace(":8000/", f":{self.serve_port}/")

    def env(self, service: str) -> dict[str, str]:
        given = dict(self.services[service].get("environment", {}))
        known = {"LOOKALIKE_BROKER_URL", "LOOKALIKE_JOBS_ROOT", "LOOKALIKE_THUMBNAIL_CACHE_BYTES"}
        assert given.keys() <= known, "this test knows only these"
        moved = {"LOOKALIKE_BROKER_URL": self.url, "LOOKALIKE_JOBS_ROOT": str(self.jobs)}
        own = given | {variable: moved[variable] for variable in moved if variable in given}
        own["LOOKALIKE_HTTP_PORT"] = str(self.serve_port)
        # The image's PATH has lookalike, celery and python; here the virtual environment has.
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return environment(LOOKALIKE_FLOWER_PORT=str(self.flower_port), **own) | {"PATH": path} | light_model()

    def command(self, service: str) -> list[str]:
        command = [self.here(str(part)) for part in self.services[service]["command"]]
        if command[0] == "valkey-server":
            return [valkey_binary(), *command[1:], "--port", str(self.redis_port), "--dir", str(self.directory)]
        found = shutil.which(command[0], path=self.env(service)["PATH"])
        assert found is not None
        return [found, *command[1:]]

    def healthy(self, service: str) -> bool:
        kind, *test = self.services[service]["healthcheck"]["test"]
        command = ["/bin/sh", "-c", self.here(test[0])] if kind == "CMD-SHELL" else [self.here(part) for part in test]
        done = subprocess.run(
            command,
            env=self.env(service),
            cwd=self.directory,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return done.returncode == 0


@pytest.fixture(scope="module")
def running(few_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, dict[str, Process]]]:
    stack = Stack(tmp_path_factory.mktemp("compose"), few_photos)
    processes: dict[str, Process] = {}

    def begin(service: str) -> None:
        log = stack.directory / f"{service}.log"
        processes[service] = Process(stack.command(service), log, stack.env(service), cwd=stack.directory)

    try:
        begin("redis")
        wait_until(lambda: answers(stack.redis_port), "the broker answers")
        for service in ("coordinator", *WORKERS, "flower", "serve"):
            begin(service)
        yield stack, processes
    finally:
        for process in reversed(processes.values()):
            process.popen.terminate()
        for process in processes.values():
            process.stop()


def test_every_service_is_run_here_but_the_one_that_needs_a_gpu(running: tuple[Stack, dict[str, Process]]) -> None:
    stack, processes = running
    assert set(processes) == set(stack.services) - {"embed-gpu"}
    cpu, gpu = stack.services["embed"]["command"], stack.services["embed-gpu"]["command"]
    assert gpu == [*cpu[:-1], "embed-gpu"], "the two differ in more than their name"


def test_the_coordinator_ends_with_the_index_built(running: tuple[Stack, dict[str, Process]]) -> None:
    stack, processes = running
    assert processes["coordinator"].wait() == 0, processes["coordinator"].output
    assert stack.healthy("coordinator")
    assert (stack.jobs / "photos" / "index" / "CURRENT").is_file()


@pytest.mark.parametrize("service", [*WORKERS, "flower", "serve"])
def test_the_health_check_tells_a_service_that_runs_from_one_that_does_not(
    running: tuple[Stack, dict[str, Process]], service: str, start: Callable[..., Process]
) -> None:
    stack, processes = running
    assert processes[service].popen.poll() is None, processes[service].output
    wait_until(lambda: stack.healthy(service), f"{service} is healthy")
    if service == "embed":
        assert not Stack.healthy(_renamed(stack, service), service)


def _renamed(stack: Stack, service: str) -> Stack:
    """The same stack, but the health check asks a worker that is not there."""
    other = Stack.__new__(Stack)
    other.__dict__.update(stack.__dict__)
    kind, shell = stack.services[service]["healthcheck"]["test"]
    renamed = {"healthcheck": {"test": [kind, shell.replace("embed@", "nobody@").replace("10", "1")]}}
    other.services = stack.services | {service: stack.services[service] | renamed}
    return other


def test_a_program_on_the_host_searches_through_the_query_service(running: tuple[Stack, dict[str, Process]]) -> None:
    stack, processes = running
    assert processes["coordinator"].wait() == 0
    with Client("photos", stack.url) as client:
        hits = client.search(stack.photos / "photo_00009.jpg", k=3, timeout=PATIENCE_SECONDS)
    assert Path(hits[0].image_path).name == "photo_00009.jpg"


def test_the_page_is_reached_through_its_published_port_with_a_key(running: tuple[Stack, dict[str, Process]]) -> None:
    stack, processes = running
    assert processes["coordinator"].wait() == 0
    wait_until(lambda: stack.healthy("serve"), "the page is served")
    with httpx2.Client(base_url=f"http://localhost:{stack.serve_port}", timeout=PATIENCE_SECONDS) as http:
        assert http.get("/").status_code == 200
        assert http.get("/v1/jobs").status_code == 401
        http.headers.update(with_key(READ_KEY))
        hit = http.post("/v1/jobs/photos/search", json={"image_id": 3, "k": 1}).json()["hits"][0]
        assert (hit["id"], http.get(hit["thumbnail"]).status_code) == (3, 200)


def test_flower_is_reached_through_its_published_port(running: tuple[Stack, dict[str, Process]]) -> None:
    stack, _ = running
    wait_until(lambda: stack.healthy("flower"), "Flower is healthy")
    with urlopen(f"http://127.0.0.1:{stack.flower_port}/tasks", timeout=60) as page:
        assert "Result" in page.read().decode()
    assert shlex.join(stack.services["flower"]["command"]).endswith("--address 0.0.0.0")
