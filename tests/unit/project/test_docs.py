"""What the documentation promises: it is current, its links lead somewhere, its commands and its code run."""

import ast
import importlib.util
import inspect
import json
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import lookalike
from coordinator.cli import application
from shared import errors
from shared.errors import ImageError, LookalikeError, NoWorker
from shared.job import path_list
from shared.job.changes.log import Change, write_change
from shared.job.partition import checkpoint, sealing
from shared.job.partition.checkpoint import ImageRow
from shared.messages.search import Hit
from shared.pack import tables
from shared.settings import BROKER_VARIABLES, Settings
from tests.support.controls import UNWATCHED
from tests.support.featured import seal_featured
from tests.support.make_job import image_path, make_job, unit
from workers.merge import build
from workers.vectors import image_list

ROOT = Path(__file__).parents[3]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
COMMANDS = get_command(application()).commands  # type: ignore[attr-defined]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(text: str) -> str:
    """`text` of a page without its code blocks."""
    return BLOCK.sub("", text)


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each table row of a page, code marks left out."""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """docs/generate.py, which is a script and no module of ours."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_parts_are_what_the_code_says_now(generator: ModuleType) -> None:
    assert {path.name for path in generator.documents()} == {
        "architecture.md", "cli.md", "http.md", "operations.md", "settings.md"
    }  # fmt: skip
    for path in generator.documents():
        assert path.read_text() == generator.written(path.read_text()), "run `python docs/generate.py`"


def test_a_generated_part_that_was_edited_is_noticed(generator: ModuleType) -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    edited = page.replace("`50_000`", "`60_000`")
    assert edited != page
    assert generator.written(edited) == page


@pytest.mark.parametrize("key", fields(Settings), ids=lambda key: key.name)
def test_every_setting_is_described_with_its_default_and_variable(key: Any) -> None:
    described = {row[0]: row for row in rows((ROOT / "docs" / "settings.md").read_text()) if len(row) == 5}
    _, _, default, what, variables = described[key.name]
    assert what == key.metadata["what"].replace("`", "")
    assert default == "unset" if key.default is None else ast.literal_eval(default) == key.default
    expected = BROKER_VARIABLES if key.name == "broker_url" else (f"LOOKALIKE_{key.name.upper()}",)
    assert variables.split(", ") == list(expected)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_that_help_prints_is_described_in_the_same_words(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # Wide enough that no sentence is broken.
    printed = CliRunner().invoke(application([name]), [name, "--help"]).output
    page = (ROOT / "docs" / "cli.md").read_text()
    section = page.partition(f"## lookalike {name}\n")[2].partition("\n## ")[0]
    described = {row[0].split()[0]: row[1] for row in rows(section) if row[0]}
    options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*(?= )", printed)) - {"--help", "-h"}
    assert options == {spelled for spelled in described if spelled.startswith("-")}
    for sentence in described.values():
        assert re.split(r" Default: | At least | [\d,]+ to ", sentence)[0] in printed


def test_every_command_is_described() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert re.findall(r"^## lookalike (\w+)$", page, re.MULTILINE) == list(COMMANDS)


def test_every_module_has_one_line_in_the_architecture() -> None:
    described = [row[0] for row in rows((ROOT / "docs" / "architecture.md").read_text()) if row[0].endswith(".py")]
    modules = [
        name_of(path)
        for room in ("lookalike", "shared", "coordinator", "workers")
        for path in (ROOT / room).rglob("*.py")
        if path.name != "__init__.py"
    ]
    assert sorted(described) == sorted(modules)


def test_every_error_is_in_the_tree_of_the_operations_page() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    known = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, LookalikeError)]
    assert len(known) > 15
    assert [kind.__name__ for kind in known if not re.search(rf"\b{kind.__name__}\b", page)] == []


@pytest.mark.parametrize(
    ("heading", "schema"),
    [
        ("paths/paths_NNNN.parquet", path_list.PATHS_SCHEMA),
        ("chunks/NNNN/NNNN.parquet", checkpoint.CHUNK_SCHEMA),
        ("metadata/metadata_NNNN.parquet", sealing.METADATA_SCHEMA),
        ("errors/errors_NNNN.parquet", sealing.ERRORS_SCHEMA),
        ("pack.parquet", tables.PACK_SCHEMA),
    ],
)
def test_the_columns_of_each_parquet_file_are_described(heading: str, schema: pa.Schema) -> None:
    section = (ROOT / "docs" / "formats.md").read_text().partition(f"## {heading}")[2].partition("\n## ")[0]
    described = [(row[0], row[1]) for row in rows(section) if row[0] != "column"]
    assert described == [(field.name, str(field.type)) for field in schema]


def test_the_other_files_are_described_by_their_names_and_keys(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "formats.md").read_text()
    made = make_job(tmp_path / "job", listed=20, sealed=[0])
    write_change(made.job, made.job.manifest, Change(1, "delete", removed=np.array([3], np.int64)))
    read = (made.job.spec, made.job.seal(0), made.job.change(1))
    keys = {key for path in read for key in json.loads(path.read_text())}
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []
    for column in image_list.IMAGES_SCHEMA:
        assert f"`{column.name}` {column.type}" in page


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        number = sum(1 for other in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
        found.add(f"{slug}-{number}" if number else slug)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    dead = []
    for match in LINK.finditer(prose(page.read_text())):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text())):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", [*PAGES, *EXAMPLES], ids=name_of)
def test_no_path_of_a_machine_and_no_address_of_a_registry_is_told(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r"(?<![\w.~-])/(?:work|tmp|root|home|Users|var|private)\b", text) == []
    assert re.findall(r"\b(?:pypi\.org|pythonhosted|test\.pypi|conda\.anaconda|docker\.io|ghcr\.io)\b", text) == []


def typed_commands() -> Iterator[tuple[str, str]]:
    """Each `lookalike …` line in the code blocks of the pages."""
    for page in PAGES:
        for kind, block in BLOCK.findall(page.read_text()):
            for line in block.splitlines() if kind in ("", "sh", "bash") else ():
                words = re.match(r"(?:.*&& )?(?:uv run )?(lookalike (?!:).*)", line)
                if words and "[OPTIONS]" not in line:
                    yield name_of(page), words[1]


@pytest.mark.parametrize(("page", "line"), [*typed_commands()])
def test_every_command_in_a_code_block_is_one_that_lookalike_takes(page: str, line: str) -> None:
    _, name, *arguments = shlex.split(line, comments=True)
    assert name in COMMANDS or name == "--help"
    if name in COMMANDS:
        COMMANDS[name].make_context(name, arguments)  # Raises for an option or an argument too many or too few.


def test_the_pages_show_commands() -> None:
    pages = [page for page, _ in typed_commands()]
    assert pages.count("README.md") >= 8
    assert pages.count("docs/operations.md") >= 4


@pytest.mark.parametrize(
    ("page", "heading", "first"),
    [("operations.md", "Promises", "promise"), ("http.md", "Hostile requests", "request")],
)
def test_every_promise_names_a_test_that_exists_once(page: str, heading: str, first: str) -> None:
    promises = (ROOT / "docs" / page).read_text().partition(f"## {heading}")[2].partition("\n## ")[0]
    defined = [
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    ]
    made = [row for row in rows(promises) if row[0] != first]
    assert len(made) >= 20
    for promise, *_, proof in made:
        named = proof.split(", ")
        assert named, promise
        assert [(name, defined.count(name)) for name in named] == [(name, 1) for name in named]


def test_every_decision_is_listed_and_has_its_three_parts() -> None:
    folder = ROOT / "docs" / "decisions"
    decisions = sorted(folder.glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    listing = (folder / "README.md").read_text()
    for path in decisions:
        title, *headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], path.name
        assert f"[{title}]({path.name})" in listing


def test_the_glossary_has_each_word_once() -> None:
    words = [
        word
        for row in rows((ROOT / "docs" / "glossary.md").read_text())
        if row[0] != "word"
        for word in row[0].split(", ")
    ]
    assert len(words) == len(set(words))
    assert {
        "job", "image id", "partition", "chunk", "seal", "batch", "manifest", "ledger", "shard", "embedding", "query",
        "hit", "recall@k", "nlist", "nprobe", "m", "nbits", "ntotal",
    } <= set(words)  # fmt: skip


def python_blocks(page: Path) -> list[str]:
    return [block for kind, block in BLOCK.findall(page.read_text()) if kind == "python"]


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=name_of)
def test_python_in_the_pages_names_what_there_is(page: Path) -> None:
    for block in python_blocks(page):
        compile(block, name_of(page), "exec")
        for line in re.findall(r"^from (?:coordinator|shared|workers)\S* import .+$", block, re.MULTILINE):
            exec(line, {})


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the jobs that docs/formats.md reads: `photos`, finished, `unfinished`, and `copies_on`."""
    photos = make_job(tmp_path / "photos", failed={3, 30})
    build.merge(photos.job, Settings(), UNWATCHED)
    for number, gone in ((1, [7, 30]), (2, [8])):  # One of them failed.
        write_change(photos.job, photos.job.manifest, Change(number, "delete", removed=np.array(gone, np.int64)))
    seal_featured(make_job(tmp_path / "copies_on", listed=20, sealed=[]).job, 0)
    unfinished = make_job(tmp_path / "unfinished", sealed=[0])
    chunk = unfinished.job.chunks(unfinished.job.partition(1))[0]
    span = range(chunk.start, chunk.stop)
    chunk_rows = [
        ImageRow(image, image_path(image), None, None, None, None, "vanished", "It is gone.")
        if image == chunk.start
        else ImageRow(image, image_path(image), 8, 8, 300, "0" * 64, "ok", None)
        for image in span
    ]
    vectors = unit(np.eye(len(span) - 1, 16)).astype(np.float16)
    checkpoint.commit_chunk(unfinished.job, chunk, chunk_rows, vectors, seconds=1.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


READING = {
    re.findall(r"^### (.+)$", text, re.MULTILINE)[-1]: block
    for text, block in re.findall(
        r"(.*?)^```python\n(.*?)^```$", (ROOT / "docs" / "formats.md").read_text(), re.DOTALL | re.MULTILINE
    )
}
SAYS = {
    "NumPy and PyArrow": "1.000  photos/é 0000000.jpg",
    "PDQs": "[1] show the same picture as 1",
    "pandas": "58 images have a copy",
    "DuckDB": "truncated",
    "embedding-reader, and with it autofaiss and clip-retrieval": "",
    "What was removed": "56 of 58 embedded images are left",
    "A partition under way": "0000.parquet (9, 16) 1 failed",
    "The index": "[ 0 ",
}


@pytest.mark.parametrize("heading", READING)
def test_the_ways_to_read_a_job_work(heading: str, jobs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if heading == "DuckDB" and importlib.util.find_spec("duckdb") is None:
        pytest.skip("DuckDB is not among the test dependencies.")
    names: dict[str, Any] = {}
    exec(compile(READING[heading], f"docs/formats.md: {heading}", "exec"), names)
    assert SAYS[heading] in capsys.readouterr().out
    if heading.startswith("embedding-reader"):
        assert len(names["embeddings"]) == 58
        assert list(names["rows"]["image_path"])[:1] == [image_path(0)]


class FakeReply:
    def __init__(self, outcome: list[Hit] | Exception) -> None:
        self._outcome = outcome

    def result(self, timeout: float = 30.0) -> list[Hit]:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class FakeClient:
    """Answers each query with one hit that tells what was asked; bad.jpg can't be decoded, `nobody` has no worker."""

    groups: list[int]

    def __init__(self, job: str, broker: str | None = None) -> None:
        if job == "nobody":
            raise NoWorker("No query worker runs: start one.")
        self.asked = f"{job} {broker}"
        FakeClient.groups = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None: ...

    def search(self, query: str, k: int) -> list[Hit]:
        return [Hit(1, 7, f"{self.asked} {query} {k}", 0.5)]

    def enqueue(self, queries: Sequence[Path], k: int) -> list[FakeReply]:
        self.groups.append(len(queries))
        return [
            FakeReply(
                ImageError("It is no image.") if query.name == "bad.jpg" else [Hit(1, 7, f"{query.name} {k}", 1.0)]
            )
            for query in queries
        ]


@pytest.fixture
def run_example(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int | str | None]:
    """Run an example as `python examples/NAME ARGUMENTS` does, with FakeClient as the client; its exit status."""
    monkeypatch.setattr(lookalike, "connect", FakeClient)

    def run(name: str, *arguments: str) -> int | str | None:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        try:
            runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        except SystemExit as end:
            return end.code
        return 0

    return run


def test_every_example_is_tested_here_and_named_in_a_page() -> None:
    pages = "".join(page.read_text() for page in PAGES)
    assert [path.name for path in EXAMPLES] == ["enqueue_many.py", "read_job.py", "search.py"]
    assert [path.name for path in EXAMPLES if f"examples/{path.name}" not in pages] == []


def test_the_search_example_prints_the_hits(
    run_example: Callable[..., int | str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_example("search.py", "photos", "query.jpg", "--broker", "redis://here", "-k", "3") == 0
    assert capsys.readouterr().out == "  1  0.5000         7  photos redis://here query.jpg 3\n"


@pytest.mark.parametrize("arguments", [("search.py", "nobody", "query.jpg"), ("enqueue_many.py", "nobody", ".")])
def test_an_example_that_can_not_go_on_says_why(
    arguments: tuple[str, ...], run_example: Callable[..., int | str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_example(*arguments) == 1
    assert capsys.readouterr().err == "No query worker runs: start one.\n"


def test_the_example_of_many_queries_writes_a_line_for_each(
    tmp_path: Path, run_example: Callable[..., int | str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["bad.jpg", *(f"image{number:03d}.JPG" for number in range(400)), "last.png"]
    for name in [*names, "notes.txt"]:
        (tmp_path / name).touch()
    assert run_example("enqueue_many.py", "photos", str(tmp_path), "-k", "2") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["query"] for line in lines] == [str(tmp_path / name) for name in names]
    assert lines[0]["error"] == "It is no image."
    assert lines[1]["hits"] == [{"rank": 1, "id": 7, "image_path": "image000.JPG 2", "similarity": 1.0}]
    assert FakeClient.groups == [64] * 6 + [18]


def test_the_example_that_reads_a_job_finds_the_pair_that_is_alike(
    tmp_path: Path, run_example: Callable[..., int | str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(60, 16)))
    vectors[45] = vectors[11]
    made = make_job(tmp_path / "job", vectors, failed={4})
    assert run_example("read_job.py", str(made.job.path)) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "59 embeddings of 16 dimensions"
    assert second.split("  ")[1:] == [image_path(11), image_path(45)]
