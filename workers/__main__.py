"""Run Celery's worker without Celery's command line, which would load Flower and a shell's libraries.

python -P lookalike/finding.py workers --queues embed,merge --name NAME@HOST [--threads 1]
    [--loglevel INFO] [--events]
"""

import argparse
import sys


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m workers")
    parser.add_argument("--queues", required=True, help="queues that it consumes, with commas")
    parser.add_argument("--name", required=True, help="its node name, as Celery, Flower and leases show it")
    parser.add_argument("--threads", type=int, default=1, help="tasks at once")
    parser.add_argument("--loglevel", default="INFO")
    parser.add_argument("--events", action="store_true", help="tell Flower of each task")
    options = parser.parse_args()
    # The import is here because it creates the app of this process from its settings, which only a worker needs.
    from workers.app import app

    worker = app.Worker(
        hostname=options.name,
        queues=options.queues,
        # In "solo" no heartbeat goes out while a model runs, and a process with TensorFlow's threads must not fork.
        pool_cls="threads",
        concurrency=options.threads,
        loglevel=options.loglevel,
        task_events=options.events,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main())
