"""What holds for every operation: keys, hosts, origins, headers, problems, and that all that is declared is there."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from coordinator.serve import problems
from coordinator.serve.app import ENDPOINTS
from coordinator.serve.declared.openapi import document
from coordinator.serve.declared.operation import JSON, WRITE
from coordinator.serve.declared.operations import OPERATIONS
from shared import errors
from tests.support.http_api import READ_KEY, WRITE_KEY, Running, key_file, serving, with_key
from tests.support.make_job import make_job


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job; leave it as it is."""
    return make_job(tmp_path_factory.mktemp("jobs") / "photos").job.path


@pytest.fixture
def running(photos: Path) -> Iterator[Running]:
    with serving(photos) as running:
        yield running


@pytest.fixture
def locked(photos: Path, tmp_path: Path) -> Iterator[Running]:
    with serving(photos, key_file(tmp_path)) as running:
        yield running


def test_each_operation_has_its_endpoint_and_no_endpoint_is_undeclared() -> None:
    assert set(ENDPOINTS) == {operation.name for operation in OPERATIONS}


def test_openapi_says_of_each_operation_what_is_declared(running: Running) -> None:
    told = running.http.get("/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    for operation in OPERATIONS:
        found = told["paths"][operation.path][operation.method.lower()]
        assert found["operationId"] == operation.name
        assert {"401", "404", str(operation.reply.status)} <= set(found["responses"])
        fields = found.get("requestBody", {}).get("content", {}).get(JSON, {}).get("schema", {}).get("properties", {})
        assert set(fields) == {field.name for field in operation.json}
    for schema in _schemas(document(OPERATIONS, "1")):
        jsonschema.Draft202012Validator.check_schema(schema)


def _schemas(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if isinstance(node.get("schema"), dict):
            yield node["schema"]
        for value in node.values():
            yield from _schemas(value)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/photos/status", "/healthz", "/readyz"])
def test_an_answer_is_as_it_is_declared(running: Running, path: str) -> None:
    template = path.replace("/photos", "/{job}")
    (operation,) = [one for one in OPERATIONS if one.path == template]
    reply = running.http.get(path)
    assert reply.status_code == operation.reply.status
    jsonschema.validate(reply.json(), operation.reply.schema())


def test_every_error_of_the_tree_has_a_status_and_a_line_in_the_docs(running: Running) -> None:
    page = running.http.get("/docs").text
    for name, (status, _) in problems.kinds().items():
        assert 400 <= status < 600
        assert f'<tr id="{name}">' in page
    assert set(problems.kinds()) >= {"NoIndexYet", "ReplyTimeout", "StoreError"}
    assert problems.status_of(errors.StoreError("It refuses.", refused=True)) == 500


def test_without_a_key_nothing_is_told_but_how_the_server_is_and_what_it_offers(locked: Running) -> None:
    for operation in OPERATIONS:
        path = operation.path.replace("{job}", "photos").replace("{id}", "0")
        reply = locked.http.request(operation.method, path)
        if operation.scope is None:
            assert reply.status_code == 200, path
            assert "/photos" not in reply.text or operation.name == "openapi"
        else:
            assert reply.status_code == 401, path
            assert reply.headers["www-authenticate"].startswith("Bearer")
    assert locked.client.asked == []


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", f"Bearer {READ_KEY[:-1]}", f"Bearer {READ_KEY}x", f"Basic {READ_KEY}", READ_KEY,
     "Bearer ÿþ"],
)  # fmt: skip
def test_a_wrong_key_is_refused(locked: Running, given: str) -> None:
    reply = locked.http.get("/v1/jobs", headers=[(b"Authorization", given.encode("latin-1"))])
    assert reply.status_code == 401
    assert reply.json()["kind"] == "Unauthorized"


def test_a_key_reaches_as_far_as_its_scope(locked: Running) -> None:
    assert locked.http.get("/v1/jobs", headers=with_key(READ_KEY)).status_code == 200
    assert locked.http.get("/v1/jobs", headers=with_key(WRITE_KEY)).status_code == 200
    for operation in OPERATIONS:
        if operation.scope == WRITE:
            path = operation.path.replace("{job}", "photos").replace("{id}", "0")
            assert locked.http.request(operation.method, path, headers=with_key(READ_KEY)).status_code == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200), ("localhost:8000", 200), ("[::1]:8000", 200), ("photos.example", 200),
        ("PHOTOS.example.:80", 200), ("evil.example", 400), ("127.0.0.1.evil.example", 400),
        ("evil.example:127.0.0.1", 400),
        ("127.0.0.1@evil.example", 400), ("evil.example/127.0.0.1", 400), ("", 400), ("[::1", 400),
    ],
)  # fmt: skip
def test_only_hosts_that_are_known_are_answered_for(running: Running, host: str, status: int) -> None:
    assert running.http.get("/healthz", headers={"Host": host}).status_code == status


def test_two_hosts_are_refused(running: Running) -> None:
    assert running.http.get("/healthz", headers=[("Host", "localhost"), ("Host", "localhost")]).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"},
     {"Origin": "null"}, {"Origin": "http://127.0.0.1:81"}],
)  # fmt: skip
def test_the_page_of_another_site_can_send_nothing(running: Running, headers: dict[str, str]) -> None:
    reply = running.http.post("/v1/jobs/photos/search", json={"vector": [1]}, headers=headers)
    assert reply.status_code == 403
    assert running.client.asked == []


def test_our_own_page_can(running: Running) -> None:
    headers = {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"}
    assert running.http.post("/v1/jobs/photos/search", json={"vector": [1]}, headers=headers).status_code == 200


def test_answers_say_what_a_browser_may_do_with_them(running: Running) -> None:
    for path in ("/", "/docs", "/v1/jobs", "/nowhere"):
        headers = running.http.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
    for path in ("/", "/docs"):
        page = running.http.get(path).text
        assert "<script" not in page
        assert "style=" not in page
        assert "http://" not in page.replace('"http://127.0.0.1', "")


def test_pages_show_a_job_of_any_name_as_text(tmp_path: Path) -> None:
    make_job(tmp_path / "R&B '(1) é")
    with serving(tmp_path) as running:
        assert "R&amp;B &#x27;(1) é" in running.http.get("/").text
        (job,) = running.http.get("/v1/jobs").json()["jobs"]
        assert running.http.get(f"{job['path']}/status").json()["listed"] > 0


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "ü"])
def test_a_request_has_an_id_that_is_one_word(running: Running, given: str) -> None:
    reply = running.http.get("/nowhere", headers=[(b"X-Request-Id", given.encode("latin-1"))])
    assert reply.headers["x-request-id"] != given
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


def test_the_log_has_a_line_for_each_request_with_its_id_and_key_name(
    locked: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lookalike.http")
    locked.http.get("/v1/jobs/a%0Ab?x=%0a", headers={"X-Request-Id": "one"} | with_key(READ_KEY))
    locked.http.get("/v1/jobs", headers={"X-Request-Id": "two"} | with_key(READ_KEY))
    lines = [record.getMessage() for record in caplog.records if record.name == "lookalike.http"]
    assert len(lines) == 2
    assert lines[0].startswith("one GET ")
    assert "\n" not in lines[0]
    assert " 200 " in lines[1]
    assert lines[1].endswith(" phone")
    assert READ_KEY not in caplog.text


def test_what_is_not_there_is_a_problem(running: Running) -> None:
    reply = running.http.get("/v1/jobs/")
    assert (reply.status_code, reply.headers["content-type"]) == (404, "application/problem+json")
    reply = running.http.put("/v1/jobs", content=b"x")
    assert (reply.status_code, reply.headers["connection"]) == (405, "close")
    assert running.http.get("/v1/jobs", params={"limitt": 3}).status_code == 422
    assert running.http.get("/v1/jobs?limit=1&limit=2").status_code == 422


def test_a_fault_of_the_server_says_nothing_of_its_inside(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(running.service, "require_ready", broken)
    reply = running.http.get("/readyz")
    assert reply.status_code == 500
    assert "inside" not in reply.text
    assert "the inside" in caplog.text


def test_the_server_is_ready_when_a_worker_is(running: Running) -> None:
    assert running.http.get("/readyz").json() == {"status": "ready"}
    running.service.error = errors.NoWorker("There is none.")
    reply = running.http.get("/readyz")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
    assert running.http.get("/healthz").status_code == 200
    assert running.http.post("/v1/jobs/photos/search", json={"vector": [1]}).status_code == 503


def test_the_jobs_of_a_root_come_in_pages_and_nothing_else_does(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        make_job(tmp_path / "root" / name)
    (tmp_path / "root" / "empty").mkdir()
    outside = make_job(tmp_path / "outside")
    (tmp_path / "root" / "leads-out").symlink_to(outside.job.path)
    with serving(tmp_path / "root") as running:
        first = running.http.get("/v1/jobs", params={"limit": 2}).json()
        assert [job["id"] for job in first["jobs"]] == ["a", "b"]
        rest = running.http.get("/v1/jobs", params={"limit": 2, "cursor": first["next"]}).json()
        assert ([job["id"] for job in rest["jobs"]], rest["next"]) == (["c"], None)
        for job in ("empty", "leads-out", "outside", "..", "%2e%2e%2foutside"):
            assert running.http.get(f"/v1/jobs/{job}/status").status_code == 404, job


def test_a_job_that_is_made_anew_is_read_anew(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    other = make_job(tmp_path / "other" / "photos", dim=8)
    with serving(tmp_path / "photos") as running:
        before = running.api.served.open("photos").manifest.identity
        shutil.rmtree(tmp_path / "photos")
        assert running.http.get("/v1/jobs/photos/status").status_code == 404
        assert running.http.get("/v1/jobs").json() == {"jobs": [], "next": None}
        shutil.copytree(other.job.path, tmp_path / "photos")
        assert running.http.get("/v1/jobs/photos/status").status_code == 200
        assert running.api.served.open("photos").manifest.identity != before


def test_head_is_answered_as_get_without_the_body(running: Running) -> None:
    reply = running.http.head("/v1/jobs")
    assert (reply.status_code, reply.content) == (200, b"")
    assert int(reply.headers["content-length"]) == len(
        json.dumps(running.http.get("/v1/jobs").json(), separators=(",", ":"))
    )
