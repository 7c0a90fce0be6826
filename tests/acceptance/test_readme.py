"""Run the README's commands, as they are typed there."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.client.client import Client
from tests.support.processes import (
    PATIENCE_SECONDS,
    Process,
    environment,
    free_port,
    redis_server,
    valkey_binary,
    wait_until,
)

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def block_under(heading: str, language: str = "") -> str:
    """The first code block under a heading of the README, or the first of all."""
    after = README.split(f"\n## {heading}\n", 1)[1] if heading else README
    found = re.search(rf"^```{language}\n(.*?)^```", after, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no code block under {heading!r}"
    return found[1]


def typed(command: str, cwd: Path, home: Path, seconds: float = PATIENCE_SECONDS) -> "subprocess.CompletedProcess[str]":
    """Run a line of the README in a shell, as a person with this home directory would."""
    env = environment(HOME=str(home), UV_PROJECT=str(ROOT), UV_NO_SYNC="1")
    del env["LOOKALIKE_CACHE_DIR"]
    uv = Path(os.environ.get("UV") or shutil.which("uv") or "uv").parent
    env["PATH"] = f"{BIN}:{uv}:{env['PATH']}"
    # Not the shell's variable of the outer environment: the README's reader has none.
    env.pop("VIRTUAL_ENV", None)
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=cwd, env=env, capture_output=True, text=True, timeout=seconds, check=False
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, run_cache: Path) -> Path:
    """A home directory in which nothing was done yet, but that the run's exports of models are where its own would."""
    home = tmp_path_factory.mktemp("home")
    (home / ".cache").mkdir()
    (home / ".cache" / "lookalike").symlink_to(run_cache)
    return home


@pytest.fixture(scope="module")
def demo(home: Path) -> "subprocess.CompletedProcess[str]":
    first = block_under("").splitlines()[0].partition("#")[0].strip()
    install, _, command = first.partition(" && ")
    assert install == "pip install uv"
    return typed(command, home, home, seconds=2 * PATIENCE_SECONDS)


def test_the_demo_ends_well_and_prints_what_the_readme_shows(
    demo: "subprocess.CompletedProcess[str]", home: Path
) -> None:
    assert demo.returncode == 0, demo.stderr
    shown = block_under("").splitlines()
    assert any("uv run pytest" in line for line in shown)
    example = README[README.index("930 photos, cut from") :].split("```")[0]
    # Accuracies of the same model on the same photos; a last digit may differ between processors.
    rows = re.compile(
        r"^ ?(jpeg quality 20|half size|flip|brightness|crop 20 %|grey|small rotation|text|all) +(\d+) .*$", re.M
    )
    groups = [[match.groups() for match in rows.finditer(text)] for text in (demo.stdout, example)]
    assert len(groups[0]) == 9
    assert groups[0] == groups[1]
    accuracy = {name: tuple(map(float, re.findall(r"([\d.]+)%", line))) for name, line in _lines(rows, demo.stdout)}
    promised = {name: tuple(map(float, re.findall(r"([\d.]+)%", line))) for name, line in _lines(rows, example)}
    for name, figures in promised.items():
        assert accuracy[name] == pytest.approx(figures, abs=2.6), name
    assert "recall@10   1.000 against exact search" in demo.stdout
    assert "Best five hits" in demo.stdout
    page = home / "lookalike-demo" / "contact-sheet.html"
    assert str(page) in demo.stdout
    assert f"lookalike serve {home / 'lookalike-demo' / 'job'}" in demo.stdout
    assert page.read_text().count("<section") >= 43
    verdicts = re.compile(r"^verdicts +(\d+) of 40 copies .* of 3 pictures that are not there none$", re.M)
    proven, said = (int(match[1]) for text in (demo.stdout, example) for match in verdicts.finditer(text))
    assert abs(proven - said) <= 1  # As above: a similarity that differs in its last digit may be too far for doubt.


def _lines(rows: "re.Pattern[str]", text: str) -> list[tuple[str, str]]:
    return [(match[1], match[0].split(match[1], 1)[1]) for match in rows.finditer(text)]


@pytest.fixture(scope="module")
def indexed(demo: "subprocess.CompletedProcess[str]", home: Path) -> Path:
    """What a person with a few photographs in ~/photos does next: the lines of the block on indexing."""
    shutil.copytree(home / "lookalike-demo" / "photos" / "coffee", home / "photos")
    (home / "jobs").mkdir()
    shutil.copy(sorted((home / "photos").iterdir())[0], home / "query.jpg")
    return home


def test_index_status_and_search_as_typed(indexed: Path) -> None:
    lines = block_under("Index, watch, search").splitlines()
    doctor, index, again, more, status, search, where, show, *changing, evaluate, export, import_, pack = lines
    add, duplicates, delete, compact = changing
    done = typed(doctor, indexed, indexed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ok +bottleneck +\w+, at [\d,.]+ images/s in one embed worker", done.stdout, re.M), done.stdout
    done = typed(index, indexed, indexed)
    assert done.returncode == 0, done.stderr
    assert "Search it:  lookalike search" in done.stderr
    other = next(path for path in sorted((indexed / "lookalike-demo" / "photos").iterdir()) if path.name != "coffee")
    shutil.copy(sorted(other.iterdir())[0], indexed / "photos" / "zz new.jpg")
    done = typed(again, indexed, indexed)
    assert done.returncode == 0, done.stderr
    assert "\n1 new\n" in done.stderr
    (indexed / "more").mkdir()
    shutil.copy(sorted(other.iterdir())[2], indexed / "more")
    done = typed(more, indexed, indexed)
    assert done.returncode == 0, done.stderr
    assert re.search(r"more.*\b1 new$", done.stderr, re.M), done.stderr
    done = typed(status, indexed, indexed)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^images +\d+ listed, \d+ embedded, 0 failed, 0 pending$", done.stdout, re.M)
    done = typed(search.partition("#")[0] + " --json", indexed, indexed)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)
    assert answer["query"] == "query.jpg"
    assert len(answer["hits"]) == 10
    assert answer["hits"][0]["similarity"] > 0.999
    assert answer["hits"][0]["verdict"] == "same bytes"
    assert Path(answer["hits"][0]["image_path"]).read_bytes() == (indexed / "query.jpg").read_bytes()
    done = typed(where.partition("#")[0] + " --json", indexed, indexed)
    assert json.loads(done.stdout)[0]["hits"] == answer["hits"], done.stderr  # All of these photos are square.
    done = typed(show, indexed, indexed)
    assert done.returncode == 0, done.stderr
    assert (indexed / "found.jpg").read_bytes() == (indexed / "query.jpg").read_bytes()
    shutil.copy(sorted(other.iterdir())[1], indexed / "new.jpg")
    done = typed(add, indexed, indexed)
    listed = len([*(indexed / "photos").iterdir(), *(indexed / "more").iterdir()])
    assert done.stdout == f"1 image added, with the id {listed}: a search finds it from now on.\n", done.stderr
    done = typed(duplicates, indexed, indexed)
    assert done.returncode == 0, done.stderr
    assert "<html" in (indexed / "out.html").read_text()
    done = typed(delete, indexed, indexed)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"1 image removed: no answer names it any more\. \d+ of \d+ are left\.\n", done.stdout)
    done = typed(compact, indexed, indexed)
    assert done.returncode == 0, done.stderr
    assert "3 partitions made into one without 1 removed image: about " in done.stderr
    left = json.loads(typed(where.partition("#")[0] + " --json -k 1000", indexed, indexed).stdout)[0]["hits"]
    assert {hit["id"] for hit in left} == {*range(listed + 1)} - {3}
    done = typed(evaluate, indexed, indexed)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^recall@10 +1\.0000 of", done.stdout, re.M), done.stdout
    assert (indexed / "sweep.png").read_bytes().startswith(b"\x89PNG")
    _searched_elsewhere(export, search, indexed, left[:3])
    shutil.copytree(indexed / "jobs" / "photos" / "img_emb", indexed / "vectors")
    done = typed(import_, indexed, indexed)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^index 0001-\w+: Flat, \d+ embeddings, recall@10 1\.000", done.stderr, re.M), done.stderr
    done = typed(pack, indexed, indexed)
    assert done.returncode == 0, done.stderr
    assert (indexed / "packed" / "photos-00000.tar").is_file()


def _searched_elsewhere(export: str, search: str, home: Path, of_job: list[dict[str, Any]]) -> None:
    """A bundle gives the hits of its job in another place, where neither the job nor its photos are."""
    command = search.partition("#")[0].replace("-k 10", "-k 3") + " --json"
    done = typed(export, home, home)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^recall@10 [01]\.\d+ \(\d+ queries\) against the exact answers of the job", done.stdout, re.M)
    (home / "laptop").mkdir()
    (home / "bundle").rename(home / "laptop" / "found")
    for hidden in ("photos", "jobs"):
        (home / hidden).rename(home / f"hidden {hidden}")
    try:
        done = typed(command.replace("~/jobs/photos", "~/laptop/found"), home, home)
        assert done.returncode == 0, done.stderr
        assert "similarities approximate: recall@10" in done.stderr
        of_bundle = json.loads(done.stdout)[0]["hits"]
        assert of_bundle[0]["verdict"] == "same bytes"
        assert [hit["id"] for hit in of_bundle] == [hit["id"] for hit in of_job]
        assert [hit["similarity"] for hit in of_bundle] == pytest.approx(
            [hit["similarity"] for hit in of_job], abs=0.01
        )
        first = of_bundle[0]["id"]
        done = typed(f"lookalike show ~/laptop/found {first} -o thumbnail.jpg", home, home)
        assert "this is its thumbnail" in done.stderr, done.stderr
        assert (home / "thumbnail.jpg").read_bytes().startswith(b"\xff\xd8")
    finally:
        for hidden in ("photos", "jobs"):
            (home / f"hidden {hidden}").rename(home / hidden)


@pytest.fixture
def query_worker(indexed: Path) -> Iterator[int]:
    """A query worker behind a Redis of this test's own; gives the port."""
    port = free_port()
    with redis_server(valkey_binary(), indexed / "redis", port):
        env = environment(CELERY_BROKER_URL=f"redis://127.0.0.1:{port}/0")
        command = [str(BIN / "lookalike"), "worker", "query", "--jobs-root", str(indexed / "jobs")]
        worker = Process(command, indexed / "worker.log", env)
        try:
            with Client(indexed / "jobs" / "photos", f"redis://127.0.0.1:{port}/0") as client:
                wait_until(client.has_worker, "the query worker answers")
                client.search(indexed / "query.jpg", timeout=PATIENCE_SECONDS)  # It loads the model.
            yield port
        finally:
            worker.stop()


def test_the_python_example_runs_as_it_stands(indexed: Path, query_worker: int) -> None:
    """In a project with packages of the names of ours, whose modules have names of ours too."""
    wait_until(lambda: (indexed / "jobs" / "photos" / "index" / "CURRENT").is_file(), "the job has an index")
    program = block_under("From Python", "python").replace(":6379/", f":{query_worker}/")
    assert str(query_worker) in program
    project = indexed / "project"
    for package in ("shared", "workers"):
        (project / package).mkdir(parents=True)
        (project / package / "__init__.py").touch()
        (project / package / "settings.py").write_text(f"NAME = 'their {package}'\n")
    (project / "celery.py").write_text("raise SystemExit('the file of the user ran')\n")
    for name in ("query.jpg", "a.jpg", "b.jpg", "new.jpg"):
        shutil.copy(indexed / "query.jpg", project / name)
    before = "from shared.settings import NAME as first\n"
    after = "from workers.settings import NAME as second\nprint(first, second)\n"
    values = "print(hits[0].rank, hits[0].similarity > 0.999, pixels.shape[2])\n"
    (project / "program.py").write_text(f"{before}{program}\n{values}{after}")
    done = typed("python program.py", project, indexed)
    assert done.returncode == 0, done.stderr
    *_, embedded, reply, other, values, names = done.stdout.splitlines()
    assert values == "1 True 3"
    assert names == "their shared their workers"
    assert re.fullmatch(r"\d+ images are embedded", embedded)
    assert all("Hit(rank=1" in line and "Hit(rank=10" in line for line in (reply, other))
