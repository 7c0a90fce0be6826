"""Find, among up to millions of images, those that match. This is the only import that a program needs.

    import lookalike

    job = lookalike.open("~/jobs/photos")
    job.search("query.jpg", k=10)

Nothing is loaded before it is asked for. A program may have packages called `shared`, `workers` and `coordinator` of
its own: in it, those of lookalike are found below `lookalike` (lookalike/finding.py).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lookalike import finding

if TYPE_CHECKING:
    from lookalike.client import Client as Client
    from lookalike.client import PendingReply as PendingReply
    from lookalike.errors import *  # noqa: F403
    from lookalike.hits import Hit as Hit
    from lookalike.hits import Hits as Hits
    from lookalike.job import Job as Job
    from lookalike.notebook.live import Live as Live
    from lookalike.notebook.upload import upload as upload
    from lookalike.program import Event as Event
    from lookalike.program import connect as connect
    from lookalike.program import index as index
    from lookalike.program import open as open
    from lookalike.status import Status as Status
    from lookalike.tools.checkup import Checkup as Checkup
    from lookalike.tools.checkup import doctor as doctor
    from lookalike.tools.demo import demo_photos as demo_photos
    from lookalike.tools.evaluation import Evaluation as Evaluation
    from lookalike.tools.evaluation import evaluate as evaluate
    from lookalike.tools.packing import Pack as Pack
    from lookalike.tools.packing import pack as pack

    __version__: str

finding.for_program()

# The module of each name.
_PLACES = {
    "Checkup": "tools.checkup",
    "Client": "client",
    "Evaluation": "tools.evaluation",
    "Event": "program",
    "Hit": "hits",
    "Hits": "hits",
    "Job": "job",
    "Live": "notebook.live",
    "Pack": "tools.packing",
    "PendingReply": "client",
    "Status": "status",
    "connect": "program",
    "demo_photos": "tools.demo",
    "doctor": "tools.checkup",
    "evaluate": "tools.evaluation",
    "index": "program",
    "open": "program",
    "pack": "tools.packing",
    "upload": "notebook.upload",
}
_ERRORS = (
    "AnotherJob",
    "BrokerError",
    "BrokerRefuses",
    "BrokerUnreachable",
    "CorruptFile",
    "EngineError",
    "FingerprintMismatch",
    "ImageError",
    "JobBusy",
    "JobError",
    "JobMismatch",
    "JobNotFound",
    "LookalikeError",
    "MessageError",
    "ModelError",
    "NoIndexYet",
    "NoWorker",
    "PackError",
    "QueryError",
    "ReplyTimeout",
    "SettingsError",
    "SourceError",
    "StoreError",
    "UsageError",
    "WorkerFailed",
)

__all__ = [
    "__version__",
    *_PLACES,
    *_ERRORS,
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("lookalike")
    place = "errors" if name in _ERRORS else _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'lookalike' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"lookalike.{place}"), name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
