"""What compose.yaml and the Dockerfile promise, read without Docker: the schema, and what a schema can't say."""

import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
from check_jsonschema import main as check_jsonschema
from ruamel.yaml import YAML
from typer.main import get_command

from coordinator.cli import application
from coordinator.serve.guard.bodies import MOST_HELD
from coordinator.serve.guard.ending import END_SECONDS
from coordinator.serve.guard.hosts import is_loopback
from shared.messages.tasks import QUEUES
from shared.settings import BROKER_VARIABLES, PREFIX, load_settings

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "compose.yaml"
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+):-([^}]*)\}")
SERVICES = {"redis", "coordinator", "embed", "embed-gpu", "merge", "query", "flower", "serve"}
OURS = sorted(SERVICES - {"redis"})
WORKERS = {"embed": "embed", "embed-gpu": "embed", "merge": "merge", "query": "query"}


def interpolated(value: Any) -> Any:
    """`value` as Compose reads it with nothing set: `${NAME:-default}` becomes its default, `$$` one dollar."""
    if isinstance(value, dict):
        return {key: interpolated(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [interpolated(entry) for entry in value]
    return VARIABLE.sub(r"\2", value).replace("$$", "$") if isinstance(value, str) else value


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """compose.yaml with its anchors, merges and variables resolved."""
    table: dict[str, Any] = interpolated(YAML(typ="safe", pure=True).load(COMPOSE))
    return table


def schema_errors(path: Path) -> int:
    status: int = check_jsonschema(["--builtin-schema", "vendor.compose-spec", str(path)], standalone_mode=False)
    return status


def test_it_follows_the_compose_specification(tmp_path: Path) -> None:
    assert schema_errors(COMPOSE) == 0
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("stop_grace_period:", "stop_grace_time:"))
    assert schema_errors(broken) == 1


def test_it_has_the_services_that_the_design_names(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == SERVICES
    assert [name for name, service in compose["services"].items() if "profiles" in service] == ["embed-gpu", "serve"]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_service_is_checked_restarted_and_given_time_to_stop(compose: dict[str, Any], service: str) -> None:
    table = compose["services"][service]
    assert table["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries"} <= set(table["healthcheck"])
    # The coordinator ends when the job is done; everything else serves until it is told to stop.
    assert table["restart"] == ("on-failure" if service == "coordinator" else "unless-stopped")
    assert "stop_grace_period" in table
    assert table["logging"]["options"]["max-size"]


def test_no_port_is_open_beyond_loopback(compose: dict[str, Any]) -> None:
    published = [(name, port) for name, service in compose["services"].items() for port in service.get("ports", [])]
    assert {name for name, _ in published} == {"redis", "flower", "serve"}
    for name, port in published:
        assert isinstance(port, str)
        address, _, rest = port.partition(":")
        assert ipaddress.ip_address(address).is_loopback, f"{name} publishes {port}"
        assert re.fullmatch(r"\d+:\d+", rest)
    assert all("network_mode" not in service for service in compose["services"].values())


@pytest.mark.parametrize("service", OURS)
def test_every_command_is_one_that_lookalike_takes(compose: dict[str, Any], service: str) -> None:
    name, subcommand, *arguments = compose["services"][service]["command"]
    assert name == "lookalike"
    commands = get_command(application()).commands  # type: ignore[attr-defined]
    assert subcommand in commands
    commands[subcommand].make_context(subcommand, arguments)  # Raises for an option or an argument too many or too few.


@pytest.mark.parametrize(("service", "role"), WORKERS.items())
def test_a_worker_takes_its_role_and_its_check_asks_it_by_its_own_name(
    compose: dict[str, Any], service: str, role: str
) -> None:
    table = compose["services"][service]
    assert role in QUEUES
    assert table["command"][2:] == [role, "--name", service]
    _, check = table["healthcheck"]["test"]
    assert check.startswith("celery -A workers.app inspect ping ")
    assert check.endswith(f" --destination {service}@$(hostname)")


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_service_can_be_scaled(compose: dict[str, Any], service: str) -> None:
    # With a fixed name two replicas would be one to Docker, to Celery and to the leases.
    assert not {"hostname", "container_name"} & set(compose["services"][service])


def test_the_environment_holds_known_settings_that_fit_each_other(compose: dict[str, Any]) -> None:
    for service in OURS:
        environment = compose["services"][service]["environment"]
        assert all(name.startswith(PREFIX) or name in BROKER_VARIABLES for name in environment), service
        settings = load_settings(environment)
        assert settings.broker_url == "redis://redis:6379/0"
        assert str(settings.jobs_root) == "/jobs"
    assert compose["services"]["coordinator"]["command"][3] == "/jobs/photos"


def test_everyone_sees_the_jobs_and_those_who_open_images_the_photographs(compose: dict[str, Any]) -> None:
    for service in OURS:
        volumes = compose["services"][service].get("volumes", [])
        photos = [volume for volume in volumes if isinstance(volume, dict)]
        jobs = [volume for volume in volumes if isinstance(volume, str) and volume.startswith("jobs:")]
        assert jobs == {"flower": [], "serve": ["jobs:/jobs:ro"]}.get(service, ["jobs:/jobs"])
        assert bool(photos) == (service in ("coordinator", "embed", "embed-gpu", "query", "serve"))
        for volume in photos:
            assert volume["target"] == compose["services"]["coordinator"]["command"][2]
            assert volume["read_only"]
            assert not volume["bind"]["create_host_path"]


def test_the_volumes_that_are_named_are_declared(compose: dict[str, Any]) -> None:
    named = {
        volume.partition(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if isinstance(volume, str)
    }
    assert named == set(compose["volumes"])


def test_the_page_is_served_read_only_without_rights_and_with_keys_alone(compose: dict[str, Any]) -> None:
    service = compose["services"]["serve"]
    assert service["read_only"] is True
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert not {"privileged", "cap_add", "user", "pid", "ipc", "devices"} & set(service)
    options = dict(zip(service["command"][2::2], service["command"][3::2], strict=True))
    assert options["--jobs-root"] == service["environment"]["LOOKALIKE_JOBS_ROOT"]
    # It listens at all addresses of the container, which is refused without keys.
    (secret,) = service["secrets"]
    assert options["--keys"] == f"/run/secrets/{secret}"
    assert compose["secrets"] == {secret: {"file": "./keys"}}
    assert not is_loopback(options["--host"])
    assert options["--allow-host"] == "localhost"
    assert "/healthz" in service["healthcheck"]["test"][-1]


def test_what_the_page_writes_has_its_place_in_memory(compose: dict[str, Any]) -> None:
    service = compose["services"]["serve"]
    ((place, options),) = [entry.split(":") for entry in service["tmpfs"]]
    size = re.fullmatch(r"size=(\d+)m,mode=1777", options)
    assert place == "/tmp"
    assert size is not None
    kept = load_settings(service["environment"]).thumbnail_cache_bytes
    assert kept + MOST_HELD < int(size[1]) << 20


def test_a_stopped_page_has_the_time_that_it_takes(compose: dict[str, Any]) -> None:
    assert int(compose["services"]["serve"]["stop_grace_period"].removesuffix("s")) > END_SECONDS + 5


def test_the_broker_keeps_its_queue_and_evicts_nothing(compose: dict[str, Any]) -> None:
    broker = compose["services"]["redis"]
    options = dict(zip(broker["command"][1::2], broker["command"][2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert re.fullmatch(r"[\w/]+:\d+", broker["image"]), "an image is held to a major version"
    assert "redis:/data" in broker["volumes"]


def test_the_gpu_is_reserved_in_its_profile_only(compose: dict[str, Any]) -> None:
    reserved = {name: service.get("deploy") for name, service in compose["services"].items()}
    devices = reserved.pop("embed-gpu")["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert set(reserved.values()) == {None}


def test_the_variables_that_are_read_are_those_that_the_head_explains() -> None:
    text = COMPOSE.read_text()
    explained = set(re.findall(r"^#   ([A-Z_]+)  +\S", text, re.MULTILINE))
    assert {name for name, _ in VARIABLE.findall(text)} == explained
    assert not re.search(r"(?<!\$)\$(?![${])", text), "a dollar is either ${NAME:-default} or $$"


def dockerfile_stages() -> dict[str, list[str]]:
    """The instructions of each stage of the Dockerfile, by its name."""
    stages: dict[str, list[str]] = {}
    for line in (ROOT / "Dockerfile").read_text().replace("\\\n", "").splitlines():
        if match := re.fullmatch(r"FROM \S+ AS (\S+)", line):
            stages[match[1]] = []
        if stages and line and not line.startswith("#"):
            stages[list(stages)[-1]].append(line)
    return stages


def test_the_dockerfile_has_each_target_and_none_runs_as_root(compose: dict[str, Any]) -> None:
    stages = dockerfile_stages()
    targets = {service["build"]["target"] for service in compose["services"].values() if "build" in service}
    assert targets == {"coordinator", "worker", "worker-gpu", "monitor", "serve"}
    for target in targets:
        instructions = stages[target]
        assert [line for line in instructions if line.startswith("USER ")] == ["USER lookalike"]
        assert not any(line.startswith("RUN") for line in instructions[instructions.index("USER lookalike") :])
        installs = [line for line in instructions if line.startswith("RUN pip install")]
        assert len(installs) == 1
        assert "-c constraints.txt" in installs[0]


@pytest.mark.parametrize(
    ("target", "extra"),
    [("coordinator", "coordinator"), ("worker", "worker"), ("worker-gpu", "gpu"), ("monitor", "monitor"),
     ("serve", "serve")],
)  # fmt: skip
def test_each_image_installs_its_extra(target: str, extra: str) -> None:
    (install,) = [line for line in dockerfile_stages()[target] if line.startswith("RUN pip install -c")]
    assert install.split()[-1] == f'".[{extra}]"'


def test_the_dockerfile_copies_only_what_dockerignore_lets_through() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for instructions in dockerfile_stages().values()
        for line in instructions
        if line.startswith("COPY ")
        for source in line.split()[1:-1]
    }
    assert copied == allowed
    assert all((ROOT / path).exists() for path in allowed)
