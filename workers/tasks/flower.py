"""Run Flower: Celery's command line with our app, and no other `celery.py`.

python -P lookalike/finding.py workers.tasks.flower --conf=FILE --address=ADDRESS --port=PORT
"""

import sys


def main() -> None:
    # Celery puts the working directory first on the path while it looks for the app. The app and its imports are loaded
    # before that, so that a celery.py or a folder `workers` there is not taken for ours.
    from celery.bin.celery import main as celery

    from workers import app

    sys.argv = ["celery", "-A", app.__name__, "flower", *sys.argv[1:]]
    celery()


if __name__ == "__main__":
    main()
