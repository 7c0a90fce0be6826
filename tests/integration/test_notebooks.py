"""The notebooks run as they are, in a kernel of Jupyter, and find what they promise; one that is killed goes on."""

import copy
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from coordinator.jobs.progress import ProgressReader
from coordinator.local.demo_photos import cut_photos
from shared.job.directory import JobDir
from shared.job.index.builds import build_names
from shared.job.opened import open_job
from tests.integration.faults.faults import Faults
from tests.support.notebooks import read_notebook
from tests.support.processes import PATIENCE_SECONDS, QUICK, children_of, commands_with, environment, wait_until

pytestmark = pytest.mark.timeout(600)


class Ran:
    """A notebook that ran, or as much of it as did."""

    def __init__(self, cells: list[Any]) -> None:
        self.outputs = {cell.id: cell.outputs for cell in cells if cell.cell_type == "code"}

    def text(self, cell: str) -> str:
        """What a cell shows as text, each output after the other."""
        return "\n".join(one.get("text") or one.get("data", {}).get("text/plain", "") for one in self.outputs[cell])

    def html(self, cell: str) -> str:
        return "\n".join(one.data["text/html"] for one in self.outputs[cell] if "text/html" in one.get("data", {}))

    def hits(self, cell: str) -> list[tuple[str, str]]:
        """The path and the caption of each hit that a cell shows with its image."""
        figure = r'<figure title="([^"]+)"[^>]*><img src="data:image/jpeg;base64,[^>]+><figcaption>(.*?)<br>'
        return re.findall(figure, self.html(cell))


def run(
    name: str,
    folder: Path,
    env: dict[str, str],
    *,
    again: bool = False,
    killed_when: Callable[[], Any] | None = None,
    **parameters: Any,
) -> Ran:
    """Run a notebook in `folder` with these parameters: all of its cells, with `again` twice in one kernel.

    With `killed_when` the kernel is killed once that is true, which ends the run.
    """
    notebook = read_notebook(name)
    place = next(place for place, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    assert all(f"{known} = " in notebook.cells[place].source for known in parameters)
    given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    injected = nbformat.v4.new_code_cell(given, id="injected")  # type: ignore[no-untyped-call]
    notebook.cells.insert(place + 1, injected)
    if again:
        notebook.cells += [type(cell)(copy.deepcopy(cell), id=f"again-{cell.id}") for cell in notebook.cells]
    patience: dict[str, Any] = dict.fromkeys(("timeout", "iopub_timeout", "startup_timeout"), int(PATIENCE_SECONDS))
    client = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **patience)
    env = env | {"IPYTHONDIR": str(folder / ".ipython")}
    if killed_when is None:
        client.execute(env=env)
        return Ran(notebook.cells)
    killer = threading.Thread(target=kill_kernel, args=(killed_when,))
    killer.start()
    with pytest.raises(DeadKernelError):
        client.execute(env=env)
    killer.join()
    return Ran(notebook.cells)


def kill_kernel(when: Callable[[], Any]) -> None:
    wait_until(when, "the kernel is to be killed")
    started = children_of(os.getpid())
    (kernel,) = [pid for pid, command in commands_with("ipykernel_launcher") if pid in started]
    os.kill(kernel, signal.SIGKILL)


def workers_of(root: Path) -> list[int]:
    """The workers that still run for the jobs below a root."""
    named = f"LOOKALIKE_JOBS_ROOT={root}".encode()
    found = []
    for pid, _ in commands_with("finding.py workers --queues"):
        with suppress(OSError):  # It has just ended.
            found += [pid] if named in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") else []
    return found


def test_the_quickstart_finds_the_originals_and_measures_the_index(tmp_path: Path) -> None:
    ran = run("quickstart", tmp_path, environment(), ONLY=["rocket"])
    photos = cut_photos(tmp_path / "lookalike-quickstart", ["rocket"])
    assert ran.text("photos") == f"{photos}\n"
    assert f"{photos.photos} of {photos.photos} images embedded" in ran.text("index")
    assert len(ran.outputs["index"]) == 1, "progress has one place"
    query = photos.queries[0]
    (path, caption), *others = ran.hits("search")
    assert path == str(query.original)
    assert "<b" in caption, "its verdict"
    assert "same pixels" in caption
    assert len(others) == 4
    assert ran.text("show").startswith(f"{query.original}\nsame pixels · ")
    first, of = map(int, re.findall(r"\d+", ran.text("copies").split("altered")[0]))
    assert of == 40
    assert first >= 36
    assert len(ran.hits("stranger")) == 5
    assert not any("same" in caption for _, caption in ran.hits("stranger"))
    assert f">{photos.photos} embedded</td>" in ran.html("evaluate")
    assert ">1.0000 of " in ran.html("evaluate")
    figures = json.loads((tmp_path / "lookalike-quickstart" / "job-evaluation.json").read_text())
    assert figures["images"]["embedded"] == photos.photos
    wait_until(lambda: not workers_of(tmp_path / "lookalike-quickstart"), "the workers have ended with the kernel")


def test_a_drive_notebook_goes_on_after_its_kernel_was_killed_and_finds_what_it_indexed(
    tmp_path: Path, few_photos: Path
) -> None:
    drive = tmp_path / "drive"
    shutil.copytree(few_photos, drive / "photos", symlinks=True)
    query = tmp_path / "query.png"
    known = cv2.imread(str(few_photos / "photo_00007.jpg"))
    assert known is not None
    cv2.imwrite(str(query), cv2.resize(known, None, fx=0.5, fy=0.5))
    places = {"DRIVE": str(drive), "PHOTOS": f"{drive}/photos", "PACKED": f"{drive}/packed", "JOBS": f"{drive}/jobs"}
    given: dict[str, Any] = {**places, "MODEL": "efficientnet-lite0", "QUERY": str(query), "SECONDS": 1}
    faults = Faults(tmp_path / "faults")
    env = environment(LOOKALIKE_CHUNK_SIZE="10", **QUICK) | faults.environment(light=True, copies=8)
    second_chunk = faults.on_step("commit_chunk", do="wait", after=1)
    job = JobDir(drive / "jobs" / "photos-efficientnet-lite0")

    def is_embedding() -> bool:
        return second_chunk.reached > 0 and workers_of(job.jobs_root) != []

    ran = run("colab_drive", tmp_path, env, killed_when=is_embedding, **given)
    second_chunk.lift()
    assert "This is not Colab" in ran.text("mount")
    assert re.search(r"</b> gpu</td><td[^>]*>\S", ran.html("doctor"))
    assert "63 of 64 images packed, 1 failed" in ran.text("pack")
    assert ran.text("status") == ran.text("search") == ""
    wait_until(lambda: not workers_of(job.jobs_root), "the workers have ended with the kernel")
    before = ProgressReader(open_job(job)).read().done
    assert 10 <= before < 63, "the chunk before the one that was held was committed"

    ran = run("colab_drive", tmp_path, env, again=True, **given)
    assert "64 of 64 images were packed before." in ran.text("pack")
    assert f"\n{before} of 63 images were done before; going on with the others.\n" in ran.text("index")
    assert "60 of 63 images embedded, 3 failed" in ran.text("index")
    assert "63 listed, 60 embedded, 3 failed, 0 pending" in ran.html("status")
    (path, caption), *others = ran.hits("search")
    assert path == f"{drive}/packed/photos-00000.tar::photo_00007.jpg"
    assert "same pixels" in caption
    assert len(others) == 9
    assert "done before" not in ran.text("again-index"), "nothing is left"
    assert "60 of 63 images embedded, 3 failed" in ran.text("again-index")
    assert ran.hits("again-search") == ran.hits("search")
    assert len(build_names(job)) == 1, "the second time there was nothing to build"
