"""Play rounds of random faults against real processes, and check after each that nothing is lost or there twice.

python -m benchmarks.chaos [PHOTOS] [--rounds 50] [--seed 1] [--round R] [--images 2000] [--workers 3] [--quick]
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.chaos import check, table
from benchmarks.chaos.cluster import WORKER_RESTART_SECONDS, Broker, Member
from benchmarks.chaos.faults import draw
from benchmarks.chaos.outcome import Outcome
from benchmarks.chaos.photos import make_photos
from benchmarks.chaos.queries import Asker
from benchmarks.chaos.round import Round, Stage
from benchmarks.support import program
from benchmarks.support.processes import LOOKALIKE, REPOSITORY, environment, require_linux
from shared.errors import LookalikeError, WorkerFailed
from shared.settings import Settings, without_settings

# Jobs are kept for some rounds: a message of theirs may still be on its way, delayed by a fault.
_ROUNDS_KEPT = 5
_READY_SECONDS = 60.0
_PAGE = REPOSITORY / "docs" / "chaos.md"


def main() -> int:
    arguments = _arguments()
    for variable in set(os.environ) - set(without_settings(os.environ)):
        del os.environ[variable]  # It tests the default settings, or those of --quick.
    signal.signal(signal.SIGTERM, _terminated)
    folder = Path(tempfile.mkdtemp(prefix="lookalike-chaos-"))
    started = time.perf_counter()
    outcomes: list[Outcome] = []
    try:
        require_linux()
        header = _header(arguments)
        for outcome in _play(arguments, folder):
            outcomes.append(outcome)
            results = _results(header, outcomes, time.perf_counter() - started)
            if arguments.out:  # After each round, so that an interrupted run of an hour keeps its results.
                program.write(Path(arguments.out), results)
    except LookalikeError as error:
        print(f"The chaos run could not be made: {error}", file=sys.stderr)
        return 1
    finally:
        if outcomes and not any(outcome.mismatches for outcome in outcomes):
            shutil.rmtree(folder)
        else:
            print(f"Jobs and logs lie in {folder}", file=sys.stderr)
    print(table.chaos_table(results["summary"]))
    if arguments.docs:
        _PAGE.write_text(table.fill_in(_PAGE.read_text(), results))
    return 1 if any(outcome.mismatches for outcome in outcomes) else 0


def _results(header: dict[str, Any], outcomes: list[Outcome], seconds: float) -> dict[str, Any]:
    rounds = [outcome.to_json() for outcome in outcomes if outcome.number]
    return header | {"wall_seconds": round(seconds, 1), "summary": table.summary(rounds), "rounds": rounds}


def _terminated(number: int, frame: object) -> NoReturn:
    raise SystemExit(143)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description="Let random faults loose on a running job and check what comes out.",
    )
    parser.add_argument("photos", metavar="PHOTOS", nargs="?", help="folder of photographs; left out: made ones")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same faults")
    parser.add_argument("--round", type=int, help="play this round of the seed alone")
    parser.add_argument("--images", type=int, help="photographs to make: 2,000, or 600 with --quick")
    parser.add_argument("--workers", type=int, default=3, help="embed workers")
    parser.add_argument("--quick", action="store_true", help="short timeouts and a light model, as the tests have them")
    parser.add_argument("--out", help="write the results there, as JSON, after each round")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/chaos.md")
    arguments = parser.parse_args()
    arguments.images = arguments.images or (600 if arguments.quick else 2_000)
    return arguments


def _command(arguments: argparse.Namespace, number: int | None = None) -> str:
    """The command of this run, or of one round of it alone."""
    words = ["python -m benchmarks.chaos", *(["PHOTOS"] if arguments.photos else [])]
    which = f"--round {number}" if number else f"--rounds {arguments.rounds}"
    words += [which, f"--seed {arguments.seed} --images {arguments.images} --workers {arguments.workers}"]
    return " ".join([*words, *(["--quick"] if arguments.quick else [])])


def _header(arguments: argparse.Namespace) -> dict[str, Any]:
    photographs = "one's own" if arguments.photos else "made ones"
    return program.head("chaos", _command(arguments, arguments.round)) | {"photographs": photographs}


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def _play(arguments: argparse.Namespace, folder: Path) -> Iterator[Outcome]:
    """Yield the undisturbed run as round 0, then the others, each when it has been played."""
    photos = Path(arguments.photos).resolve() if arguments.photos else make_photos(folder / "photos", arguments.images)
    with _stage(arguments, folder, photos) as stage:
        _say("undisturbed")
        undisturbed = Round(stage, 0, [])
        outcome = undisturbed.play(None, {})
        reference = check.checksums(undisturbed.job)
        outcome.mismatches = [said for said in outcome.mismatches if "undisturbed run has no such file" not in said]
        if outcome.mismatches or not reference:
            raise WorkerFailed(f"The undisturbed run did not end well: {' '.join(outcome.mismatches)}")
        stage = replace(stage, chunk_seconds=undisturbed.chunk_seconds())
        _say(f"undisturbed: {outcome.seconds:.1f} s; a chunk takes {stage.chunk_seconds:.1f} s")
        yield outcome
        with Asker(undisturbed.job, stage.broker.url) as asker:
            _await_answer(asker)
            numbers = [arguments.round] if arguments.round else range(1, arguments.rounds + 1)
            kept: list[Round] = []
            for number in numbers:
                _say(f"round {number}")
                played = Round(stage, number, draw(arguments.seed, number))
                outcome = played.play(asker, reference)
                _say(f"round {number}: {outcome.seconds:.1f} s, {len(outcome.mismatches)} mismatches")
                for said in outcome.mismatches:
                    print(f"    {said}", flush=True)
                if outcome.mismatches:
                    print(f"    Again: {_command(arguments, number)}", flush=True)
                else:
                    kept.append(played)
                if len(kept) > _ROUNDS_KEPT:
                    kept.pop(0).remove()
                yield outcome


def _await_answer(asker: Asker) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not asker.answers:
        if time.monotonic() > deadline:
            raise WorkerFailed(f"No query was answered within {_READY_SECONDS:g} s: {asker.wrong}")
        time.sleep(0.1)


@contextmanager
def _stage(arguments: argparse.Namespace, folder: Path, photos: Path) -> Iterator[Stage]:
    """Run a broker and workers during the block."""
    for name in ("jobs", "logs", "broker"):
        (folder / name).mkdir()
    quick = arguments.quick
    broker = Broker(folder / "broker")
    settings = Settings(broker_url=broker.url, jobs_root=folder / "jobs")
    if quick:
        settings = replace(settings, lease_seconds=2.0, visibility_timeout=5)
    env = environment() | {"TF_CPP_MIN_LOG_LEVEL": "2"} | settings.to_environment()
    if quick:
        env |= _light_model(folder)
    workers = {
        name: Member(
            name,
            role,
            [LOOKALIKE, "worker", role, "--name", name],
            folder / "logs" / f"{name}.log",
            env,
            WORKER_RESTART_SECONDS,
        )
        for role, count in (("embed", arguments.workers), ("merge", 1), ("query", 1))
        for name in ([f"{role}{number + 1}" for number in range(count)] if role == "embed" else [role])
    }
    chunk = 25 if quick else 100
    stage = Stage(
        photos=photos,
        folder=folder,
        env=env,
        settings=settings,
        # More than two partitions for each worker, so that there are queues to lose.
        partition_size=max(chunk, arguments.images // (2 * arguments.workers + 1) // chunk * chunk),
        chunk_size=chunk,
        chunk_seconds=0.0,
        merge_seconds=0.5 if quick else 1.5,
        deadline=180.0 if quick else 300.0,
        broker=broker,
        workers=workers,
        say=_say,
    )
    broker.start()
    for member in workers.values():
        member.log.touch()
    try:
        yield stage
    finally:
        for member in workers.values():
            with contextlib.suppress(ProcessLookupError):
                member.stop()
        broker.stop()


def _light_model(folder: Path) -> dict[str, str]:
    """The environment of the tests' light model, slow enough that there is time for faults."""
    from tests.integration.faults.faults import Faults

    return Faults(folder / "faults").environment(light=True, seconds_per_batch=0.08)
