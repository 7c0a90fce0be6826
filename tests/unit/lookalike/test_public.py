"""What programs import: hits that give and show their images, a job that starts its own search, runs that report."""

import io
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lookalike
from coordinator.jobs.reconcile import Look
from coordinator.jobs.runs import loop
from coordinator.jobs.runs.events import Step
from coordinator.local import resources
from lookalike import client as public_client
from lookalike.job import Job
from shared.errors import JobNotFound, NoIndexYet, NoWorker, UsageError
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.messages.search import Answer, Hit, Searched
from shared.messages.verified import Verified
from shared.settings import Settings
from tests.support.builds import build
from tests.support.bundles import bundle_of
from tests.support.cli import Run
from tests.support.evidence import evidence
from tests.support.make_job import make_job
from tests.support.progress import DONE, UNDER_WAY
from tests.support.source_jobs import job_of_a_list

RED = (250, 10, 20)


def png(width: int = 300, height: int = 200) -> bytes:
    image = np.full((height, width, 3), RED[::-1], np.uint8)
    return bytes(cv2.imencode(".png", image)[1].tobytes())


# Hits.


def placed(tmp_path: Path, where: str) -> str:
    """The path of an image in a file, a tar or a Parquet file."""
    if where == "file":
        (tmp_path / "a.png").write_bytes(png())
        return str(tmp_path / "a.png")
    if where == "tar":
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            info = tarfile.TarInfo("in/b.png")
            info.size = len(png())
            tar.addfile(info, io.BytesIO(png()))
        return f"{tmp_path}/a.tar::in/b.png"
    pq.write_table(pa.table({"image": [b"none", png()]}), tmp_path / "a.parquet")
    return f"{tmp_path}/a.parquet::1"


@pytest.mark.parametrize("where", ["file", "tar", "parquet"])
def test_a_hit_gives_its_image_wherever_it_is(tmp_path: Path, where: str) -> None:
    hit = lookalike.Hit(1, 7, placed(tmp_path, where), 0.5)
    assert hit.read() == png()
    image = hit.image()
    assert (image.shape, image.dtype) == ((200, 300, 3), np.uint8)
    assert tuple(image[100, 100]) == RED
    assert 'src="data:image/jpeg;base64,' in hit._repr_html_()


def test_what_a_notebook_shows_of_hits_is_small_and_escaped(tmp_path: Path) -> None:
    path = tmp_path / '<b onclick=x>&".png'
    path.write_bytes(png(3_000, 2_000))
    hits = lookalike.Hits([lookalike.Hit(1, 0, str(path), 0.98765), lookalike.Hit(2, 1, str(tmp_path / "gone"), 0.5)])
    shown = hits._repr_html_()
    assert len(shown) < 20_000
    assert "<b onclick" not in shown
    assert "&lt;b onclick=x&gt;&amp;&quot;.png" in shown
    assert "0.9877" in shown
    assert "no longer there" in shown
    assert lookalike.Hits()._repr_html_() == "<p>No hits.</p>"
    assert "… and 12 more." in lookalike.Hits([hits[1]] * 62)._repr_html_()


def test_without_what_decodes_small_files_are_shown_and_an_image_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Without:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "workers.images.viewing":
                raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

    monkeypatch.delitem(sys.modules, "workers.images.viewing", raising=False)
    monkeypatch.setattr("sys.meta_path", [Without(), *sys.meta_path])
    hit = lookalike.Hit(1, 7, placed(tmp_path, "file"), 0.5)
    assert "data:image/png;base64," in hit._repr_html_()
    with pytest.raises(
        UsageError, match=r"To decode an image takes cv2, which is not installed: .*lookalike\[worker\]"
    ):
        hit.image()


def test_looking_at_an_image_leaves_opencv_as_the_program_has_it() -> None:
    program = """
import cv2
cv2.setNumThreads(3)
from workers.images import viewing
print(cv2.getNumThreads())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_hits_travel_between_processes_and_compare_as_they_did(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    build(made.job)
    hit = lookalike.Hit(1, 7, "a.jpg", 0.5, _read=lambda image_id, path: b"")
    assert pickle.loads(pickle.dumps(hit)) == hit == lookalike.Hit(1, 7, "a.jpg", 0.5)
    assert repr(hit) == "Hit(rank=1, id=7, image_path='a.jpg', similarity=0.5, verdict=None, chance=None)"
    proven = lookalike.Hit(1, 7, "a.jpg", 0.5, "same picture", evidence(132, hit_overlap=0.41, turned=90))
    again = pickle.loads(pickle.dumps(proven))
    assert (again, again.evidence) == (proven, proven.evidence)


def test_a_notebook_shows_the_verdict_of_a_hit_and_what_it_rests_on(tmp_path: Path) -> None:
    own = evidence(132, hit_overlap=0.41, turned=90)
    shown = lookalike.Hit(1, 7, str(tmp_path / "gone.jpg"), 0.5, "same picture", own)._repr_html_()
    assert f'<b title="{own.description}">same picture</b>' in shown
    assert "132 matching points" in own.description
    assert "<b" not in lookalike.Hit(1, 7, str(tmp_path / "gone.jpg"), 0.5)._repr_html_().replace("<br>", "")


# The job.


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands for broker, worker and client: `raises` is what the next searches raise, first to last."""
    found = SimpleNamespace(started=0, ended=0, revived=0, raises=[])

    class Client(public_client.Client):
        def __init__(self, job: object = None, broker: object = None) -> None: ...

        def close(self) -> None: ...

        def search(self, query: Any, k: int = 10, **options: Any) -> lookalike.Hits:
            if found.raises and (error := found.raises.pop(0)) is not None:
                raise error
            found.asked = options
            verdict = None if options["verify"] == "never" else "same bytes"
            hits = [lookalike.Hit(1, 3, "photos/a.jpg", 0.9, verdict)]
            return lookalike.Hits(hits, Searched(37, 60), Verified(1, 1) if verdict else None)

    def end() -> None:
        found.ended += 1

    def start(stack: ExitStack, job: JobDir, settings: Settings, client_class: type) -> SimpleNamespace:
        assert client_class is Client
        found.started += 1
        stack.callback(end)
        return SimpleNamespace(client=Client(), revive=lambda: setattr(found, "revived", found.revived + 1))

    monkeypatch.setattr(resources, "service_for_search", start)
    monkeypatch.setattr("lookalike.job.Client", Client)
    return found


@pytest.fixture
def made(tmp_path: Path) -> Path:
    job = make_job(tmp_path / "jobs" / "photos")
    build(job.job)
    return job.job.path


def test_a_job_starts_what_it_searches_with_once_and_ends_it(made: Path, service: SimpleNamespace) -> None:
    with lookalike.open(made) as job:
        assert (service.started, service.ended) == (0, 0)
        found = job.search("a.jpg", k=1)
        (hit,) = found
        assert (hit.rank, hit.id, hit.image_path, found.searched) == (1, 3, "photos/a.jpg", Searched(37, 60))
        assert (hit.verdict, found.verified) == (None, None)
        verified = job.search("a.jpg", verify="auto", views=6, finer="efficientnet-b7")
        assert (service.asked["verify"], service.asked["views"], service.asked["finer"]) == (
            "auto",
            6,
            "efficientnet-b7",
        )
        assert (verified[0].verdict, verified.verified) == ("same bytes", Verified(1, 1))
        assert (service.started, service.revived, service.ended) == (1, 1, 0)
    assert service.ended == 1
    job.search("a.jpg")
    assert service.started == 2
    del job
    assert service.ended == 2, "also without `close`, when nobody has the job any more"


def test_a_worker_of_another_program_that_ended_is_replaced_once(made: Path, service: SimpleNamespace) -> None:
    job = lookalike.open(made)
    service.raises = [NoWorker("It ended."), None]
    assert len(job.search("a.jpg")) == 1
    assert (service.started, service.ended) == (2, 1)
    service.raises = [NoWorker("It ended."), NoWorker("Again.")]
    with pytest.raises(NoWorker, match="Again"):
        job.search("a.jpg")
    job = lookalike.open(made, broker="redis://:secret@127.0.0.1:1/0")
    service.raises = [NoWorker("Theirs to start.")]
    with pytest.raises(NoWorker, match="Theirs"):
        job.search("a.jpg")


def test_a_forked_process_does_not_end_what_its_parent_searches_with(
    made: Path, service: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = lookalike.open(made)
    job.search("a.jpg")
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    job.search("a.jpg")
    assert (service.started, service.ended) == (2, 0)
    monkeypatch.undo()


def test_opening_what_is_no_job_and_searching_before_anything_is_embedded_are_errors(tmp_path: Path) -> None:
    with pytest.raises(JobNotFound):
        lookalike.open(tmp_path / "nothing")
    without = make_job(tmp_path / "without", sealed=[])
    with pytest.raises(NoIndexYet):
        lookalike.open(without.job.path).search("a.jpg")


def test_the_status_of_a_job_is_what_status_json_says(made: Path, run: Run) -> None:
    job = lookalike.open(made)
    said = json.loads(run("status", made, "--json").out)
    status = job.status()
    assert isinstance(status, lookalike.Status)
    assert asdict(status) == said
    assert (status.listed, status.done, status.pending) == (60, 60, 0)
    assert status.index is not None
    assert (status.index.type, status.index.recall_at_10) == ("Flat", 1.0)
    assert status.partitions["sealed"] == 3
    assert repr(job) == f"<lookalike.Job {made}: 60 images, {status.model}>"


def test_images_of_a_job_are_removed_by_ids_and_paths(made: Path) -> None:
    job = lookalike.open(made)
    assert job.delete([3, np.int64(7), "photos/é 0000030.jpg"]) == 3
    assert job.delete(np.array([8, 9])) == 2
    assert (job.status().removed, job.status().listed) == (5, 60)
    assert open_job(JobDir.at(made)).state.removed.tolist() == [3, 7, 8, 9, 30]
    with pytest.raises(lookalike.JobError, match=r"The image 3 .* was removed before"):
        job.delete(iter([3, 4]))
    with pytest.raises(lookalike.QueryError, match="and none is 60"):
        job.delete([4, 60])
    assert job.status().removed == 5


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ("a.jpg", r"takes a list of images, as in delete\(\['a.jpg'\]\)"),
        (3, r"as in delete\(\[3\]\)"),
        ([-1], "-1 is no image id"),
        ([True], "True names no image"),
        ([1.0], "1.0 names no image"),
        ([b"a.jpg"], "names no image"),
    ],
)
def test_what_names_no_images_is_refused(made: Path, images: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        lookalike.open(made).delete(images)


def test_a_hit_of_a_job_is_read_where_the_job_says_that_it_is(
    made: Path, service: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "é 0000003.jpg").write_bytes(png())
    (hit,) = lookalike.open(made).search("a.jpg")
    assert hit.read() == png()


@pytest.mark.slow
def test_a_bundle_is_opened_as_a_job_is(service: SimpleNamespace, tmp_path: Path) -> None:
    made = job_of_a_list(tmp_path, index=True)
    bundle = bundle_of(made, tmp_path / "bundle", thumbnails=64)
    job = lookalike.open(bundle.path)
    assert (job.is_bundle, lookalike.open(made.path).is_bundle) == (True, False)
    facts = bundle.manifest.bundle
    assert facts is not None
    assert job.status().bundle == facts.summary
    for change in (lambda: job.delete([3]), lambda: job.add(["a.jpg"]), lambda: job.update(3, metadata={"year": 1})):
        with pytest.raises(
            lookalike.JobError, match=r"is a bundle of the job .*: it is for searching, and can't be changed"
        ):
            change()
    (hit,) = job.search("a.jpg")
    with pytest.raises(lookalike.ImageError, match=r"no longer there\. The bundle .* has no thumbnail of the image 3"):
        hit.image()
    hit = replace(hit, id=4)
    with pytest.raises(lookalike.ImageError, match=r"The image 4 could not be read when the bundle"):
        hit.image()
    offsets = np.load(bundle.thumbnail_offsets(0))
    offsets[4:] = len(png())  # From the row of the image 4 on, as the image 3 failed.
    np.save(bundle.thumbnail_offsets(0), offsets)
    bundle.thumbnails(0).write_bytes(png())
    assert hit.image().shape == (200, 300, 3)


def test_a_client_gives_hits_that_give_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.client.client.require_broker", lambda settings: None)
    with lookalike.connect("photos", broker="redis://127.0.0.1:1/0") as client:
        assert isinstance(client, lookalike.Client)
        proven = client.hits(Answer((Hit(1, 2, "a.jpg", 0.5, "same picture", evidence()),), verified=Verified(9, 9)))
        hits = client.hits(Answer((Hit(1, 2, "a.jpg", 0.5),)))
    assert (proven.verified, proven[0].verdict, proven[0].evidence) == (Verified(9, 9), "same picture", evidence())
    assert hits.verified is None
    assert hits == [lookalike.Hit(1, 2, "a.jpg", 0.5)]
    assert type(hits) is lookalike.Hits
    assert client.reply is lookalike.PendingReply


# index.


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The progresses that a run goes through, each a second after the other."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    script: list[Any] = [UNDER_WAY, UNDER_WAY, DONE]

    def run_job(job: Any, settings: Settings, workers: Any) -> Iterator[Step]:
        for place, progress in enumerate(script):
            yield Step(Look(progress), ["A worker ended."] if place == 1 else [])

    monkeypatch.setattr(loop, "run_job", run_job)
    monkeypatch.setattr(loop, "workers_for_index", lambda stack, job, settings, roles: (settings, None))
    return script


def test_index_tells_its_progress_as_sentences_and_numbers_and_gives_the_job(
    steps: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[lookalike.Event] = []
    job = lookalike.index("photos", "jobs/photos", progress=told.append, every=3600)
    assert isinstance(job, Job)
    assert job.path == str(Path("jobs/photos").resolve())
    assert [str(event) for event in told][:3] == [
        "Listing images …",
        f"1 images in 1 partition; model {job.status().model}",
        str(told[2]),
    ]
    assert (told[2].done, told[2].listed) == (UNDER_WAY.done, UNDER_WAY.listed)
    assert [event.sentence for event in told[3:4]] == ["A worker ended."]
    assert len(told) == 5, "what only counts on was told once"
    assert told[-1].done == DONE.done
    assert [event.passing for event in told] == [True, False, True, False, False], "what is to be kept is"
    assert "99,990 of 100,000 images embedded, 10 failed" in str(told[-1])
    assert capsys.readouterr() == ("", "")
    told.clear()
    lookalike.index("photos", "jobs/photos", progress=told.append, every=0)
    assert sum(event.listed == UNDER_WAY.listed for event in told) >= 3
    assert lookalike.index("photos", "jobs/photos").path == job.path, "it need not be told"


def test_index_runs_in_any_thread_and_ends_by_what_its_callback_raises(steps: list[Any]) -> None:
    ended: list[BaseException] = []

    def stop(event: lookalike.Event) -> None:
        if event.done is not None:
            raise KeyboardInterrupt

    def go() -> None:
        try:
            lookalike.index("photos", "jobs/photos", progress=stop)
        except KeyboardInterrupt as error:
            ended.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    assert len(ended) == 1
    assert lookalike.open("jobs/photos").status().listed == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "workers is 0; at least one has to embed"),
        ({"workers": True}, "workers is True"),
        ({"exclude": "*.png"}, r"exclude is a list of patterns, as in exclude=\['\*.png'\]"),
        ({"include": "*.png"}, "include is a list of patterns"),
    ],
)
def test_index_refuses_what_can_not_be_meant(steps: list[Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lookalike.index("photos", "jobs/photos", **options)
    assert not Path("jobs").exists()


# A client's install.

BLOCKED = """
import sys
import lookalike
from lookalike import extras

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

MISSING = {*extras.COORDINATOR - {"packaging"}, *extras.WORKER}  # Kombu needs packaging as well.
sys.meta_path.insert(0, Missing())
"""


def without_extras(program: str, cwd: Path) -> str:
    """What a program prints where only a client is installed."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + program], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_a_client_needs_neither_arrow_nor_the_libraries_of_the_commands(made: Path, tmp_path: Path) -> None:
    said = without_extras(
        f"""
for name in lookalike.__all__:
    getattr(lookalike, name)
for job in ("photos", {str(made)!r}):
    try:
        lookalike.connect(job, broker="redis://127.0.0.1:1/0")
    except lookalike.BrokerUnreachable:
        print("told")
job = lookalike.open({str(made)!r})
try:
    lookalike.open({str(made)!r}, broker="redis://127.0.0.1:1/0").search("a.jpg")
except lookalike.BrokerUnreachable:
    print("told")
for call in (job.status, lambda: job.search("a.jpg"), lambda: lookalike.index("photos", "new"),
             lambda: lookalike.doctor(), lambda: lookalike.pack("photos", "packed"),
             lambda: lookalike.evaluate({str(made)!r}), lambda: lookalike.demo_photos("demo"),
             lambda: lookalike.Hit(1, 1, {placed(tmp_path, "parquet")!r}, 1.0).read(),
             lambda: lookalike.Hit(1, 1, "https://127.0.0.1:1/a.jpg", 1.0).read()):
    try:
        call()
    except lookalike.LookalikeError as error:
        print(error)
""",
        tmp_path,
    )
    assert said.splitlines()[:3] == ["told"] * 3
    status, search, index, *tools, parquet, url = said.splitlines()[3:]
    missing = "takes pyarrow, which is not installed: pip install 'lookalike[coordinator]'."
    assert status == f"To read the status of a job {missing}"
    assert search.startswith("No broker is given, and the embedded one is not installed: install lookalike[worker]")
    assert index == "To index takes pathspec, which is not installed: pip install 'lookalike[coordinator]'."
    assert [re.sub(r" takes \w+, which is not installed: pip install ", ": ", line) for line in tools] == [
        "To look at this machine: 'lookalike[coordinator]'.",
        "To pack images: 'lookalike[coordinator]'.",
        "To evaluate a job: 'lookalike[coordinator]'.",
        "To make the photos: 'lookalike[worker]'.",
    ]
    assert parquet == f"To read an image of a Parquet file {missing}"
    assert "install lookalike[http]" in url


@pytest.mark.parametrize("command", ["--help", "index", "doctor"])
def test_a_command_of_a_clients_install_says_what_to_install(tmp_path: Path, command: str) -> None:
    said = without_extras(
        f"""
from lookalike.__main__ import main
sys.argv = ["lookalike", {command!r}]
sys.stderr = sys.stdout
try:
    main()
except SystemExit as end:
    print(end.code)
sys.argv = ["lookalike", "--version"]
main()
""",
        tmp_path,
    )
    refused, status, told = said.splitlines()
    assert refused.startswith("lookalike: This is the client alone, for `import lookalike` in programs, without ")
    assert "pip install 'lookalike[coordinator]'" in refused
    assert "'lookalike[worker]'" in refused
    assert (status, told) == ("2", f"lookalike {lookalike.__version__}")
