"""Run a Celery worker with our settings whose one task does nothing: no task can be faster.

celery -A benchmarks.query.empty_worker worker -P threads -c 1 -Q empty
"""

from benchmarks.query.load import EMPTY_TASK
from shared.broker.connection import make_app
from shared.settings import load_settings

app = make_app(load_settings())


def empty(number: int) -> int:
    """Give the argument back."""
    return number


app.task(name=EMPTY_TASK)(empty)
