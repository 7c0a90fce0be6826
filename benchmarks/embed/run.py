"""Compare the article's way of embedding with ours, each engine with its bound, and time listing and asking for work.

python -m benchmarks.embed PHOTOS [--models A,B] [--images N,M] [--only SECTIONS] [--resume] [--device gpu] [--docs]
"""

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.embed import costs, sources, tables
from benchmarks.embed.listing import make_tree, write_list
from benchmarks.embed.once import Asked
from benchmarks.support import machine, program
from benchmarks.support.processes import LOOKALIKE, measured, run_module
from coordinator.sources.resolve import open_source
from shared.errors import UsageError
from shared.images.paths import to_os_path
from shared.models import DEFAULT_MODEL

_SECTIONS = {"cpu": ("ends", "memory", "sources", "listing", "dispatch"), "gpu": ("ends",)}
_MEMORY_MODEL = "efficientnet-b4"
_SOURCE_IMAGES = 768
_PACKAGES = ("openvino", "jax", "torch")


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    name = "embed.json" if arguments.device == "cpu" else "embed_gpu.json"
    out = (arguments.out or program.RESULTS / name).resolve()
    started = time.perf_counter()
    results = _begun(arguments, out)
    with tempfile.TemporaryDirectory(prefix="lookalike-embed-", dir=arguments.work) as folder:
        bench = _Bench(arguments, Path(folder).resolve(), results["facts"])
        for section, step_name, step in bench.steps():
            if section in arguments.only and step_name not in results[section]:
                program.log(f"{section}: {step_name}")
                results[section][step_name] = step()
                results["wall_seconds"] += round(time.perf_counter() - started)
                started = time.perf_counter()
                program.write(out, results)
    program.show(tables.all_tables(results), docs=arguments.docs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.embed", description="Measure embedding, from listing the images to their seal."
    )
    parser.add_argument("photos", metavar="PHOTOS", help="folder of photographs; its path is not written down")
    parser.add_argument("--name", default="photographs of one's own", help="what the photographs are, in the results")
    parser.add_argument("--device", choices=tuple(_SECTIONS), default="cpu", help="gpu: Keras, on the backend it has")
    parser.add_argument("--models", type=program.names, default="efficientnet-lite0,efficientnet-b0,efficientnet-b4")
    parser.add_argument(
        "--images", type=program.numbers, default="768,384,128", help="images of each model: whole batches of 128"
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way; an odd number has a median run")
    parser.add_argument("--keep", type=Path, help="folder for weights and exports, which a later run finds there")
    parser.add_argument(
        "--memory-images", type=program.numbers, default="256,1024", help="sizes of the jobs of a worker"
    )
    parser.add_argument("--paths", type=int, default=2_000_000, help="paths that are listed, from a list and a tree")
    parser.add_argument("--only", type=program.names, help="sections, with commas; left out: all of the device")
    program.add_work(parser)
    parser.add_argument("--resume", action="store_true", help="keep what FILE holds of a run of the same machine")
    program.add_out(parser, None, each_step=True)
    arguments = parser.parse_args()
    sections = _SECTIONS[arguments.device]
    arguments.only = arguments.only or list(sections)
    if unknown := set(arguments.only) - set(sections):
        parser.error(f"there is no section {', '.join(sorted(unknown))}: expected some of {', '.join(sections)}")
    if len(arguments.models) != len(arguments.images):
        parser.error("--models and --images name a number of images for each model")
    return arguments


def _begun(arguments: argparse.Namespace, out: Path) -> dict[str, Any]:
    """The results so far: those of an earlier run if it is to be resumed, else none."""
    facts = run_module("benchmarks.embed.models", "facts")
    if arguments.device == "gpu" and all(device.startswith("cpu") for device in facts["devices"]):
        raise UsageError(f"Keras on {facts['backend']} sees no GPU here ({facts['devices']}): leave --device gpu out.")
    if arguments.resume and out.is_file():
        kept: dict[str, Any] = json.loads(out.read_text())
        if (kept["machine"], kept["facts"]) != (machine.machine(), facts):
            raise UsageError(f"{out} was measured on another machine or device: leave --resume out.")
        return kept | {"command": _command(arguments)}
    begun = {
        "photographs": arguments.name,
        "facts": facts,
        "device": arguments.device,
        "repeats": arguments.repeats,
        "wall_seconds": 0,
    }
    sections: dict[str, Any] = {section: {} for section in _SECTIONS[arguments.device]}
    return program.head("embed", _command(arguments), *_PACKAGES) | begun | sections


def _command(arguments: argparse.Namespace) -> str:
    given = f'--name "{arguments.name}" --device {arguments.device} --models {",".join(arguments.models)}'
    counts = f"--images {','.join(map(str, arguments.images))} --repeats {arguments.repeats}"
    if arguments.device == "cpu":
        counts += f" --memory-images {','.join(map(str, arguments.memory_images))} --paths {arguments.paths}"
    return f"python -m benchmarks.embed PHOTOS {given} {counts}"


Step = tuple[str, str, Callable[[], dict[str, Any]]]


class _Bench:
    """The steps of a run, and the folder that they share: weights, exports, lists, jobs."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, facts: dict[str, Any]) -> None:
        self._arguments, self._folder, self._facts = arguments, folder, facts
        self._kept = (arguments.keep or folder).resolve()
        self._photos: list[str] = []

    def steps(self) -> list[Step]:
        """The steps: the part of the results, the name in it, and the function that measures it."""
        models, counts = self._arguments.models, self._arguments.images
        steps: list[Step] = [
            ("ends", model, partial(self._ends, model, count)) for model, count in zip(models, counts, strict=True)
        ]
        if self._arguments.device == "cpu":
            sizes = self._arguments.memory_images
            steps += [("memory", f"{count}", partial(self._memory, count)) for count in sizes]
            steps += [("sources", DEFAULT_MODEL, self._sources)]
            steps += [("listing", kind, partial(self._listing, kind)) for kind in ("list", "tree")]
            steps += [("dispatch", "embedded broker", self._dispatch)]
        return steps

    def _ends(self, model: str, count: int) -> dict[str, Any]:
        """Every way over the same images, in turns, so that a busy hour meets all of them."""
        listing, images = self._list(count)
        ways = {"article": self._asked(model, "keras", "f32"), "keras f32": self._asked(model, "keras", "f32")}
        if self._arguments.device == "cpu":
            ways |= {f"openvino {kind}": self._asked(model, "openvino", kind) for kind in self._facts["precisions"]}
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for repeat in range(self._arguments.repeats):
            for way, asked in ways.items():
                runs[way].append(self._once(way, listing, asked, f"repeat {repeat + 1}"))
        weights = "packaged" if ways["article"].weights is None else "as Keras begins a training with"
        return {"images": images, "weights": weights, "ways": costs.summed(runs, self._arguments.device)}

    def _memory(self, count: int) -> dict[str, Any]:
        """A whole `lookalike index`, for the memory of its embed worker: with Celery, the leases and the queue."""
        listing, images = self._list(count)
        asked = self._asked(_MEMORY_MODEL, "openvino", "f32")
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            place = Path(name)
            # Read by the coordinator where it is started, and handed on to its workers.
            (place / "lookalike.toml").write_text(f'engine = "openvino"\ncache_dir = "{asked.cache_dir}"\n')
            (place / "jobs").mkdir()
            command = [LOOKALIKE, "index", str(listing), "jobs/job", "--model", asked.model]
            command += ["--weights", asked.weights] if asked.weights else []
            self._export(asked)
            run = measured(command, place / "index.log")
        worker = max((usage for usage in run.children if usage.role == "embed"), key=lambda usage: usage.cpu_seconds)
        return {"model": asked.model, "images": images, "wall_seconds": round(run.wall_seconds, 1)} | worker.to_json()

    def _sources(self) -> dict[str, Any]:
        """The same images from a folder, a tar and a zip, in turns."""
        listing, images = self._list(_SOURCE_IMAGES)
        folder = self._folder / "sources"
        folder.mkdir()
        made = sources.pack(listing.read_text(errors="surrogateescape").splitlines(), folder)
        taken = {kind: path for kind, path in made.items() if sources.is_taken(path)}
        left_out = sorted(set(made) - set(taken))
        if left_out:
            program.log(f"sources: {', '.join(left_out)} left out, as this version of lookalike takes no such source")
        asked = self._asked(DEFAULT_MODEL, "openvino", "f32", parts=False)
        runs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in taken}
        for repeat in range(self._arguments.repeats):
            for kind, path in taken.items():
                runs[kind].append(self._once("lookalike", path, asked, f"{kind}, repeat {repeat + 1}"))
        return {"images": images, "left_out": left_out, "ways": costs.summed(runs, "cpu")}

    def _listing(self, kind: str) -> dict[str, Any]:
        place = self._folder / kind
        count = self._arguments.paths
        if kind == "list":
            place = place.with_suffix(".txt")
            write_list(place, count)
        else:
            make_tree(place, count)
        jobs = self._folder / f"jobs-{kind}"
        jobs.mkdir()
        found: dict[str, Any] = run_module("benchmarks.embed.listing", "list", place, jobs / "job")
        return found

    def _dispatch(self) -> dict[str, Any]:
        job = self._folder / "jobs-list" / "job"
        if not job.exists():  # A run of this section alone, or one that was resumed.
            self._listing("list")
        found: dict[str, Any] = run_module("benchmarks.embed.listing", "dispatch", job)
        return found

    def _once(self, way: str, source: Path, asked: Asked, said: str) -> dict[str, Any]:
        program.log(f"{asked.model}, {way}: {said}")
        if asked.engine == "openvino":
            self._export(asked)
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            module = "article" if way == "article" else "lookalike"
            found: dict[str, Any] = run_module("benchmarks.embed.once", module, source, place, asked.to_json())
        return found

    def _asked(self, model: str, engine: str, precision: str, *, parts: bool = True) -> Asked:
        return Asked(model, self._weights(model), engine, precision, str(self._kept / "cache"), parts)

    def _weights(self, model: str) -> str | None:
        """The weights file of a model, made if it is not there; None for the model whose weights are a package."""
        if model == DEFAULT_MODEL:
            return None
        path = self._kept / f"{model}.weights.h5"
        if not path.is_file():
            program.log(f"weights of {model}, as Keras begins a training with: none can be counted on to be downloaded")
            path.parent.mkdir(parents=True, exist_ok=True)
            run_module("benchmarks.embed.models", "weights", model, path)
        return str(path)

    def _export(self, asked: Asked) -> None:
        """Have the model of `asked` exported, so that no measured process does it."""
        done = self._folder / f"{asked.model}.exported"
        if not done.exists():
            program.log(f"export of {asked.model} for OpenVINO")
            run_module("benchmarks.embed.models", "export", asked.to_json())
            done.touch()

    def _list(self, count: int) -> tuple[Path, int]:
        """A list of `count` photographs of the folder, and how many they are."""
        if not self._photos:
            self._photos = list(open_source(self._arguments.photos))
        listing = write_chosen(self._photos, count, self._folder)
        return listing, len(listing.read_bytes().splitlines())


def write_chosen(paths: Sequence[str], count: int, folder: Path) -> Path:
    """A list file in `folder` of `count` of the images at `paths`, evenly chosen; of all, where there are fewer.

    Of images with equal bytes only the last is taken: the others would flatter ours, which embeds them once.
    """
    digests = (hashlib.sha256(Path(to_os_path(path)).read_bytes()).digest() for path in paths)
    every = sorted(dict(zip(digests, paths, strict=True)).values())
    chosen = [every[place * len(every) // count] for place in range(count)] if count < len(every) else every
    listing = folder / f"{len(chosen)}.txt"
    listing.write_bytes(b"".join(os.fsencode(to_os_path(path)) + b"\n" for path in chosen))
    return listing
