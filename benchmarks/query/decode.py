"""Measure what it costs to decode the images of queries in processes of their own: `python -m benchmarks.query.decode`.

Each image is decoded both ways in turn, so that whatever else the machine does hits both; the difference is that of the
pair. The images are photographs of noise upon soft colours, as JPEGs of three sizes; after the figures comes how long
an image that ends its processes keeps its caller waiting, and what memory the processes hold.
"""

import argparse
import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.support import program
from shared.errors import ImageError
from shared.settings import Settings
from workers.images.decode import decode
from workers.search.decoding.processes import DecodingProcesses

SIZES = ((400, 600), (1080, 1440), (3000, 4000))
RESULTS = program.RESULTS / "query_decode.json"
IMAGE_SIZE, MOST_PIXELS, HOW = 224, 178_956_970, "reduced"
# Ends its process on what begins with a word that no image begins with.
ENDING = """
import os, signal, sys
from workers.search.decoding import process
whole = process.decode
def decode(data, **how):
    if data[:5] == b"crash": os.kill(os.getpid(), signal.SIGSEGV)
    return whole(data, **how)
process.decode = decode
process.main(sys.argv[1:])
"""


def photo(width: int, height: int, random: np.random.Generator) -> bytes:
    soft = Image.fromarray(random.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    grain = random.integers(-8, 9, (height, width, 3))
    pixels = np.asarray(soft.resize((width, height), Image.Resampling.BICUBIC), np.int64) + grain
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def timed(decode_one: Callable[[bytes, int, int, str], object], data: bytes) -> float:
    began = time.perf_counter()
    decode_one(data, IMAGE_SIZE, MOST_PIXELS, HOW)
    return (time.perf_counter() - began) * 1000


def memory(pid: int) -> float:
    """Megabytes that a process holds, pages of files left out."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1000 for line in file if line.startswith("RssAnon:"))


def pairs_of(decoders: DecodingProcesses, data: bytes, rounds: int) -> dict[str, Any]:
    """Milliseconds of an image decoded here and there in turn; what is added is the difference of each pair."""
    both = [(timed(decode, data), timed(decoders.decode, data)) for _ in range(rounds)][rounds // 10 :]
    here, there = (statistics.median(each) for each in zip(*both, strict=True))
    added = sorted(alone - own for own, alone in both)
    return {
        "bytes": len(data),
        "here_p50_ms": round(here, 2),
        "there_p50_ms": round(there, 2),
        "added_p50_ms": round(statistics.median(added), 2),
        "added_p95_ms": round(added[len(added) * 95 // 100], 2),
    }


def crash_seconds(settings: Settings, data: bytes) -> list[float]:
    """How long each of five images that end their processes keeps its caller waiting."""
    decoders = DecodingProcesses(2, settings.decode_seconds, settings.decode_memory_bytes)
    decoders.command = [sys.executable, "-P", "-c", ENDING, *decoders.command[4:]]
    decoders.start()
    timed(decoders.decode, data)
    waits = []
    for _ in range(5):
        began = time.perf_counter()
        try:
            decoders.decode(b"crash", IMAGE_SIZE, MOST_PIXELS, HOW)
        except ImageError:
            waits.append(round(time.perf_counter() - began, 2))
    decoders.close()
    return waits


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.query.decode", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--runs", type=int, default=5, help="repetitions, of which the result has each")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go, as JSON")
    arguments = parser.parse_args()
    settings, random = Settings(), np.random.default_rng(0)
    decoders = DecodingProcesses(2, settings.decode_seconds, settings.decode_memory_bytes)
    decoders.start()
    began = time.perf_counter()
    timed(decoders.decode, photo(64, 64, random))
    first = round((time.perf_counter() - began) * 1000)
    images = {f"{height} x {width}": photo(width, height, random) for width, height in SIZES}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in images}
    for _ in range(arguments.runs):
        for name, data in images.items():
            runs[name].append(pairs_of(decoders, data, arguments.rounds))
            print(name, json.dumps(runs[name][-1]), flush=True)
    held = [round(memory(pid)) for pid in decoders.pids]
    decoders.close()
    command = f"python -m benchmarks.query.decode --rounds {arguments.rounds} --runs {arguments.runs}"
    results = program.head("query_decode", command, "pillow") | {
        "added_p50_ms": {name: statistics.median(run["added_p50_ms"] for run in all_) for name, all_ in runs.items()},
        "runs": runs,
        "first_answer_ms": first,
        "private_megabytes": held,
        "crash_seconds": crash_seconds(settings, images["600 x 400"]),
    }
    program.write(arguments.out, results)
    print(json.dumps({key: results[key] for key in ("added_p50_ms", "first_answer_ms", "crash_seconds")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
