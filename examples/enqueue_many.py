"""Search with a whole folder of query images, many at once, and write the hits as JSON lines.

    python examples/enqueue_many.py photos FOLDER --broker redis://127.0.0.1:6379/0 > hits.jsonl

An image that can't be decoded becomes a line with its error; the others are still answered.
"""

import argparse
import json
import sys
from collections import deque
from pathlib import Path

import lookalike

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
GROUP = 64  # The most queries that one task carries.
MOST_AHEAD = 4 * GROUP  # Enough to keep a worker busy, and few enough that no reply expires.


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", help="id or directory of a job")
    parser.add_argument("folder", type=Path, help="folder of query images")
    parser.add_argument("--broker", help="redis:// URL; left out: CELERY_BROKER_URL or REDIS_URL")
    parser.add_argument("-k", type=int, default=10, help="hits wanted (10)")
    typed = parser.parse_args()
    paths = sorted(path for path in typed.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    waiting: deque[tuple[Path, lookalike.PendingReply]] = deque()
    try:
        with lookalike.connect(typed.job, broker=typed.broker) as client:
            for start in range(0, len(paths), GROUP):
                group = paths[start : start + GROUP]
                waiting.extend(zip(group, client.enqueue(group, k=typed.k), strict=True))
                while len(waiting) > MOST_AHEAD:
                    print(line(*waiting.popleft()))
            while waiting:
                print(line(*waiting.popleft()))
    except lookalike.LookalikeError as error:  # There is no worker, no broker or no index: the rest would fail too.
        print(error, file=sys.stderr)
        return 1
    return 0


def line(path: Path, reply: lookalike.PendingReply) -> str:
    """The hits of one query as a line of JSON, or why it has none."""
    try:
        hits = reply.result(timeout=120)
    except lookalike.ImageError as error:
        return json.dumps({"query": str(path), "error": str(error)})
    return json.dumps({"query": str(path), "hits": [hit.to_json() for hit in hits]})


if __name__ == "__main__":
    sys.exit(main())
