"""What it costs to decode the images of queries in processes of their own: `python -m benchmarks.query_decode`.

Each image is decoded both ways in turn, so that whatever else the machine does hits both; the difference is that of the
pair. The images are photographs of noise upon soft colours, as JPEGs of three sizes; after the figures comes how long
an image that ends its processes keeps its caller waiting, and what memory the processes hold.
"""

import argparse
import io
import statistics
import sys
import time

import numpy as np
from PIL import Image

from shared.errors import ImageError
from shared.settings import Settings
from workers.decode import decode
from workers.decoding_processes import DecodingProcesses

SIZES = ((400, 600), (1080, 1440), (3000, 4000))
IMAGE_SIZE, MOST_PIXELS, HOW = 224, 178_956_970, "reduced"
# Ends its process on what begins with a word that no image begins with.
ENDING = """
import os, signal, sys
from workers import decoding_processes as real
whole = real.decode
def decode(data, *how):
    if data[:5] == b"crash": os.kill(os.getpid(), signal.SIGSEGV)
    return whole(data, *how)
real.decode = decode
real.main(sys.argv[1:])
"""


def photo(width: int, height: int, random: np.random.Generator) -> bytes:
    soft = Image.fromarray(random.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    grain = random.integers(-8, 9, (height, width, 3))
    pixels = np.asarray(soft.resize((width, height), Image.Resampling.BICUBIC), np.int64) + grain
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def timed(decode_one: object, data: bytes) -> float:
    began = time.perf_counter()
    decode_one(data, IMAGE_SIZE, MOST_PIXELS, HOW)  # type: ignore[operator]
    return (time.perf_counter() - began) * 1000


def memory(pid: int) -> float:
    """Megabytes that a process holds, pages of files left out."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1000 for line in file if line.startswith("RssAnon:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    settings, random = Settings(), np.random.default_rng(0)
    decoders = DecodingProcesses(2, settings.decode_seconds, settings.decode_memory_bytes)
    decoders.start()
    began = time.perf_counter()
    timed(decoders.decode, photo(64, 64, random))
    print(f"until the first answer of a process that was just started: {(time.perf_counter() - began) * 1000:.0f} ms")
    for size in SIZES:
        data = photo(*size, random)
        pairs = [(timed(decode, data), timed(decoders.decode, data)) for _ in range(rounds)][rounds // 10 :]
        here, there = (statistics.median(each) for each in zip(*pairs, strict=True))
        added = sorted(alone - own for own, alone in pairs)
        print(
            f"{size[0]} x {size[1]}, {len(data):,} bytes: here {here:.2f} ms, there {there:.2f} ms; added "
            f"{statistics.median(added):.2f} ms at p50, {added[len(added) * 95 // 100]:.2f} ms at p95"
        )
    print("memory of each process:", ", ".join(f"{memory(pid):.0f} MB" for pid in decoders.pids))
    decoders.close()
    ending = DecodingProcesses(2, settings.decode_seconds, settings.decode_memory_bytes)
    ending._command[1:4] = ["-P", "-c", ENDING]
    ending.start()
    timed(ending.decode, data)
    waits = []
    for _ in range(5):
        began = time.perf_counter()
        try:
            ending.decode(b"crash", IMAGE_SIZE, MOST_PIXELS, HOW)
        except ImageError:
            waits.append(time.perf_counter() - began)
    print(f"until an image that ends its process is an error: {max(waits):.2f} s at most of {len(waits)}")
    ending.close()


if __name__ == "__main__":
    sys.exit(main())
