"""Put damaged files of every format through `index` and `search`, and report statuses, answers, memory and problems.

python -m benchmarks.fuzz.index [--files 1000] [--cases DIRECTORY] [--docs]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.fuzz import tables
from benchmarks.fuzz.cases import TAR, kind_of, name_of, write_cases
from benchmarks.support import program
from benchmarks.support.processes import LOOKALIKE, children_of, environment, require_linux, role_of
from coordinator.local.broker import EmbeddedBroker
from shared.errors import LookalikeError, WorkerFailed
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.job.opened import open_job
from shared.processes.own import LAUNCHER
from shared.processes.stage import ending

RESULTS = program.RESULTS / "fuzz_index.json"
# A command that takes longer hangs.
_SECONDS = 1_200
_LOOK_SECONDS = 0.05
_MOST_HITS = 1_000
# Float16 vectors of the same pixels, computed in batches of other sizes.
_SAME = 0.995


@dataclass(slots=True)
class Ended:
    """How a command ended: exit status (None: it hung and was killed), seconds, what it said, peaks by kind of process.

    `peaks` are bytes of memory (VmHWM), the highest of each kind as they were last seen.
    """

    code: int | None
    seconds: float
    out: str
    err: str
    peaks: dict[str, int] = field(default_factory=dict)


def command(arguments: Sequence[str | Path], directory: Path, env: Mapping[str, str]) -> Ended:
    """Run `lookalike ARGUMENTS` to its end in `directory`, and look at the memory of all its processes meanwhile."""
    started = time.perf_counter()
    peaks: dict[str, int] = {}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [LOOKALIKE, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=directory, env=env
        )
        code: int | None = None
        try:
            while time.perf_counter() - started < _SECONDS and code is None:
                note_peaks(process.pid, peaks)
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(_LOOK_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        out.seek(0), err.seek(0)
        said, complained = (file.read().decode(errors="replace") for file in (out, err))
    return Ended(code, round(time.perf_counter() - started, 1), said, complained, peaks)


def note_peaks(parent: int, peaks: dict[str, int]) -> None:
    """Raise `peaks` to what the processes below `parent` have held so far, by what each is."""
    for pid in children_of(parent):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # It has ended meanwhile.
            continue
        if "VmHWM:" in status:
            kind = role_of(arguments)
            if kind == "other":
                kind = arguments[arguments.index(LAUNCHER) + 1] if LAUNCHER in arguments[:-1] else arguments[0]
                kind = kind.removesuffix(".process").rpartition(".")[2].rpartition("/")[2].removesuffix("_process")
            peaks[kind] = max(peaks.get(kind, 0), int(status.split("VmHWM:")[1].split()[0]) * 1024)
        note_peaks(pid, peaks)


def rows_of(job: JobDir) -> tuple[dict[str, str], list[str]]:
    """The status of each image of a finished job by its path ("ok" for an embedded one), and what does not add up."""
    job = open_job(job)
    statuses: dict[str, str] = {}
    problems = []
    embedded = failed = 0
    for number in (partition.number for partition in job.partitions):
        good = pq.ParquetFile(job.metadata(number)).read(["image_path"])["image_path"].to_pylist()
        bad = pq.ParquetFile(job.errors(number)).read(["image_path", "status", "error_message"]).to_pylist()
        embedded, failed = embedded + len(good), failed + len(bad)
        statuses |= dict.fromkeys(good, "ok")
        for row in bad:
            statuses[row["image_path"]] = row["status"]
            if not (row["error_message"] or "").rstrip().endswith("."):
                problems.append(f"{row['image_path']} failed without a sentence: {row['error_message']!r}")
    if not embedded + failed == job.listed == len(statuses):
        problems.append(
            f"{job.listed} were listed, {embedded} are embedded and {failed} failed, of {len(statuses)} paths"
        )
    return statuses, problems


def sampled(folder: Path, statuses: Mapping[str, str], most: int) -> dict[str, list[str]]:
    """By format, up to `most` embedded and as many failed images of a job, from all over its list."""
    of_kind: dict[str, list[str]] = {}
    for path in sorted(statuses):
        of_kind.setdefault(kind_of(folder, path), []).append(path)
    found = {}
    for kind, paths in of_kind.items():
        good = [path for path in paths if statuses[path] == "ok"]
        bad = [path for path in paths if statuses[path] != "ok"]
        found[kind] = good[:: len(good) // most or 1][:most] + bad[:: len(bad) // most or 1][:most]
    return found


def search(
    job: JobDir, asked: Sequence[str], statuses: Mapping[str, str], directory: Path, env: Mapping[str, str]
) -> tuple[dict[str, int], list[str], Ended]:
    """Search for images of a job with one command.

    An embedded one must find itself, or as many as were asked for that are the same; a failed one must be answered
    with a sentence and the status of its row. Returns counts, problems, and how the command ended.
    """
    ended = command(["search", job.path, *asked, "-k", str(_MOST_HITS), "--json"], directory, env)
    counts = {"embedded": 0, "found": 0, "failed": 0, "answered": 0}
    problems = said_wrong("search", ended, 1 if any(statuses[path] != "ok" for path in asked) else 0)
    try:
        answers = json.loads(ended.out)
    except ValueError:
        return counts, [*problems, f"search gave no JSON: {ended.err[-500:]}"], ended
    for path, answer in zip(asked, answers, strict=True):
        status = statuses[path]
        counts["embedded" if status == "ok" else "failed"] += 1
        if status == "ok" and finds_itself(path, answer):
            counts["found"] += 1
        elif status != "ok" and answer.get("status") == status and answer["error"].endswith("."):
            counts["answered"] += 1
        else:
            said = {**answer, "hits": answer["hits"][:2]}
            problems.append(f"{path} is {status}, and search says {json.dumps(said)[:600]}")
    return counts, problems, ended


def finds_itself(path: str, answer: Mapping[str, Any]) -> bool:
    """Whether an image is among its hits with the vector that it has, or all hits are the same as it."""
    hits = answer["hits"]
    if not hits or hits[0]["similarity"] < _SAME:
        return False
    own = next((hit for hit in hits if hit["image_path"] == path), None)
    similarity: float = (hits[-1] if own is None else own)["similarity"]
    return similarity >= _SAME


def said_wrong(what: str, ended: Ended, expected: int) -> list[str]:
    """What a command said or did that no user should see."""
    problems = [f"{what}: {line}" for line in traceback_lines(ended.out + "\n" + ended.err)]
    if ended.code != expected:
        how = "did not end" if ended.code is None else f"ended with {ending(ended.code)}"
        problems.append(f"{what} {how}, not with {expected}: {ended.err[-1000:]}")
    return problems


def traceback_lines(text: str) -> list[str]:
    """The lines that begin a traceback or tell of a fatal error of Python."""
    return [line for line in text.splitlines() if "Traceback (most recent" in line or line.startswith("Fatal Python")]


def in_tar_as_in_folder(folder: Path, statuses: Mapping[str, str]) -> list[str]:
    """The members of the tar whose status is another one than that of the file of the same bytes."""
    tar = f"{folder / TAR}::"
    return [
        f"{path} is {status} in the tar and {beside} in the folder"
        for path, status in statuses.items()
        if path.startswith(tar) and (beside := statuses[str(folder / name_of(folder, path))]) != status
    ]


def counts_of(folder: Path, statuses: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """How many images of each format have each status."""
    found: dict[str, Counter[str]] = {}
    for path, status in statuses.items():
        found.setdefault(kind_of(folder, path), Counter())[status] += 1
    return {kind: dict(sorted(counts.items())) for kind, counts in sorted(found.items())}


def measure(base: Path, files: int, sample: int, cases: Path | None) -> dict[str, Any]:
    """Index whole images, then damaged ones, and search for some of these through one query worker."""
    env = environment()
    whole, folder = base / "whole", base / "damaged"
    write_cases(whole, 0)
    images = write_cases(folder, files)
    if cases is not None:
        made = [path for path in cases.iterdir() if path.is_file()]
        (folder / "cases").mkdir()
        for path in made:
            shutil.copyfile(path, folder / "cases" / path.name)
        images += len(made)
    root = base / "jobs"
    root.mkdir()
    job = JobDir.at(root / "damaged")
    with EmbeddedBroker(root) as broker:  # Held here, so that what the workers log can be read afterwards.
        before = command(["index", whole, root / "whole"], base, env)
        problems = said_wrong("index of whole images", before, 0)
        indexed = command(["index", folder, job.path, "--accept-failures"], base, env)
        problems += said_wrong("index", indexed, 0)
        statuses, wrong = rows_of(job)
        problems += wrong + in_tar_as_in_folder(folder, statuses)
        left_out = sum(load_manifest(job).source.left_out.values())
        if len(statuses) + left_out != images:
            problems.append(f"Of {images} files {len(statuses)} were listed and {left_out} left out.")
        searched, wrong, seconds, peaks = _through_one_worker(job, folder, statuses, sample, base, env)
        problems += wrong
        for log in sorted((broker.directory / "logs").iterdir()):
            problems += [f"{log.name}: {line}" for line in traceback_lines(log.read_text(errors="replace"))]
    return {
        "images": len(statuses),
        "embedded": sum(status == "ok" for status in statuses.values()),
        "failed": sum(status != "ok" for status in statuses.values()),
        "index_seconds": indexed.seconds,
        "search_seconds": seconds,
        "peak_bytes": {"index of whole images": before.peaks, "index": indexed.peaks, "search": peaks},
        "statuses": counts_of(folder, statuses),
        "searched": searched,
        "problems": problems,
    }


def _through_one_worker(
    job: JobDir, folder: Path, statuses: Mapping[str, str], sample: int, base: Path, env: Mapping[str, str]
) -> tuple[dict[str, dict[str, int]], list[str], float, dict[str, int]]:
    log = base / "query.log"
    with open(log, "wb") as file:
        worker = subprocess.Popen(
            [LOOKALIKE, "worker", "query", "--jobs-root", str(job.jobs_root), "--loglevel", "INFO"],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=base, env=env,
        )  # fmt: skip
    found: dict[str, dict[str, int]] = {}
    problems: list[str] = []
    seconds, peaks = 0.0, dict[str, int]()
    try:
        deadline = time.monotonic() + 60
        while " ready." not in log.read_text(errors="replace"):
            if worker.poll() is not None or time.monotonic() > deadline:
                raise WorkerFailed(f"The query worker did not become ready: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(_LOOK_SECONDS)
        for kind, asked in sampled(folder, statuses, sample).items():
            found[kind], wrong, ended = search(job, asked, statuses, base, env)
            problems += [f"{kind}: {problem}" for problem in wrong]
            seconds += ended.seconds
        if worker.poll() is not None:
            problems.append(f"The query worker ended with {ending(worker.returncode)}.")
        status = Path(f"/proc/{worker.pid}/status").read_text() if worker.poll() is None else ""
        if "VmHWM:" in status:
            peaks["query"] = int(status.split("VmHWM:")[1].split()[0]) * 1024
        note_peaks(worker.pid, peaks)
    finally:
        worker.terminate()
        worker.wait(60)
    problems += [f"query worker: {line}" for line in traceback_lines(log.read_text(errors="replace"))]
    return found, problems, round(seconds, 1), peaks


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz.index", description="Index and search damaged files of every format."
    )
    parser.add_argument("--files", type=int, default=1_000, help="damaged files of each format")
    parser.add_argument("--sample", type=int, default=40, help="embedded and failed images of a format to search for")
    parser.add_argument("--cases", type=Path, help="a directory of further files, which go in as well")
    program.add_out(parser, RESULTS)
    arguments = parser.parse_args()
    started = time.perf_counter()
    more = "" if arguments.cases is None else " --cases DIRECTORY"
    command = f"python -m benchmarks.fuzz.index --files {arguments.files} --sample {arguments.sample}{more}"
    results = program.head("fuzz_index", command, "openvino", "pillow", "pi-heif")
    try:
        require_linux()
        with tempfile.TemporaryDirectory(prefix="lookalike-fuzz-", dir=os.environ.get("TMPDIR")) as base:
            results |= measure(Path(base), arguments.files, arguments.sample, arguments.cases)
    except LookalikeError as error:
        print(f"The benchmark could not be made: {error}", file=sys.stderr)
        return 1
    results["wall_seconds"] = round(time.perf_counter() - started)
    program.write(arguments.out, results)
    program.show(tables.all_tables(results), docs=arguments.docs)
    for problem in results["problems"]:
        print(problem, file=sys.stderr)
    return 1 if results["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
