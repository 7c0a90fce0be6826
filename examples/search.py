"""Search a job for the images most like one image, through a running query worker.

python examples/search.py photos query.jpg --broker redis://127.0.0.1:6379/0
"""

import argparse
import sys

import lookalike


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", help="id or directory of a job")
    parser.add_argument("image", help="query image")
    parser.add_argument("--broker", help="redis:// URL; left out: CELERY_BROKER_URL or REDIS_URL")
    parser.add_argument("-k", type=int, default=10, help="hits wanted (10)")
    typed = parser.parse_args()
    try:
        with lookalike.connect(typed.job, broker=typed.broker) as client:
            for hit in client.search(typed.image, k=typed.k):
                print(f"{hit.rank:>3}  {hit.similarity:.4f}  {hit.id:>8}  {hit.image_path}")
    except lookalike.LookalikeError as error:  # Each error is a sentence: what was found, and what to do.
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
