"""The error tree: every failure that lookalike itself can name, each a sentence for the person who reads it.

    LookalikeError                  exit status 1 unless noted
    ├── UsageError                  the arguments make no sense (exit status 2)
    ├── SettingsError               an unknown key, or a value out of range
    ├── SourceError                 the images can't be listed
    ├── ImageError                  one image can't be read or decoded; carries the status of its error row
    ├── ModelError                  unknown model, missing or wrong weights
    │   ├── FingerprintMismatch     two models where one is needed; names both
    │   └── EngineError             a good model that the engine asked for can't run
    ├── JobError                    the job directory can't serve what was asked
    │   ├── JobNotFound
    │   ├── JobMismatch             the job was made from another source, model or version
    │   │   └── AnotherJob          another job of that name is there
    │   ├── JobBusy                 another coordinator is creating the same job right now
    │   ├── NoIndexYet              nothing to search yet
    │   └── CorruptFile             a checksum, a size or a shape disagrees
    ├── PackError                   the directory can't hold the pack that was asked for
    ├── QueryError                  a query that can't be answered: k, dimension, NaN
    ├── MessageError                a message this version can't accept
    ├── StoreError                  an object store that refuses or does not answer; an OSError too
    └── BrokerError                 the broker, or those behind it
        ├── BrokerUnreachable
        ├── BrokerRefuses           it answers, and a permission or a setting is in the way
        ├── NoWorker                no worker consumes the queue
        ├── ReplyTimeout            a worker does, but no reply came in time
        └── WorkerFailed            a worker says why the job can't continue

If an action of lookalike mends what is wrong, the error has a `Remedy`; `coordinator.display.remedies` makes of it the
sentence for the terminal. A reply carries an error as `error_to_json` writes it, with the status of an image, and
`error_from_json` makes the same error from that again.
"""

import errno
from collections.abc import Mapping
from typing import Any

from shared.errors.remedy import Remedy, with_remedy


class LookalikeError(Exception):
    """Root of the tree. `str(error)` is a whole sentence: what was found, what was expected, what to do.

    With a `remedy`, the message that is given is only the facts, `found`, and the sentence ends with the remedy in
    words that name no command. If the facts have no full stop at their end, a colon separates the two.
    """

    def __init__(self, *message: object, remedy: Remedy | None = None) -> None:
        super().__init__(*message)
        self.remedy = remedy

    @property
    def found(self) -> str:
        """The facts without the remedy; the whole sentence if there is no remedy."""
        return super().__str__()

    def __str__(self) -> str:
        return with_remedy(self.found, self.remedy)


class UsageError(LookalikeError):
    """The arguments make no sense."""


class SettingsError(LookalikeError):
    """An unknown key, or a value out of range."""


class SourceError(LookalikeError):
    """The images of a source can't be listed."""


class ImageError(LookalikeError):
    """One image can't be read, decoded or embedded.

    `status` is one word for the error row: vanished, unreadable, empty, not-an-image, oversized, truncated,
    damaged, undecodable, no-direction or quarantined.
    """

    def __init__(self, message: str, status: str = "undecodable", *, remedy: Remedy | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status


class ModelError(LookalikeError):
    """Unknown model, missing weights, or weights of another architecture."""


class FingerprintMismatch(ModelError):
    """Two models where one is needed; the sentence names both fingerprints."""


class EngineError(ModelError):
    """The engine that was asked for can't run a good model; another engine may."""


class JobError(LookalikeError):
    """The job directory can't serve what was asked of it."""


class JobNotFound(JobError):
    """No job is in that directory."""


class JobMismatch(JobError):
    """The job was made from another source, with another model, or by another format version."""


class AnotherJob(JobMismatch):
    """Another job of that name is there, not the one that was meant."""


class JobBusy(JobError):
    """Another coordinator is creating the same job right now."""


class NoIndexYet(JobError):
    """Nothing of the job is embedded to be searched, or a step needs a promoted index and there is none."""


class CorruptFile(JobError):
    """A file of the job fails its checksum, is cut short, or has another shape than its marker says."""


class PackError(LookalikeError):
    """The directory can't hold the pack that was asked for: it holds another one, or is damaged, full or in use."""


class QueryError(LookalikeError):
    """A query that can't be answered as it was asked."""


class MessageError(LookalikeError):
    """A message that this version of lookalike can't accept."""


class StoreError(LookalikeError, OSError):
    """An object store refuses or does not answer. It is the OSError of a disk, in a sentence.

    `refused` is whether the store answered and denied access: waiting does not help then.
    """

    def __init__(self, message: str, *, refused: bool = False, remedy: Remedy | None = None) -> None:
        super().__init__(errno.EACCES if refused else errno.EIO, message, remedy=remedy)
        self.refused = refused

    @property
    def found(self) -> str:
        return str(self.strerror)


class BrokerError(LookalikeError):
    """Something about the broker or those behind it."""


class BrokerUnreachable(BrokerError):
    """Nothing answers at the broker's address."""


class BrokerRefuses(BrokerError):
    """A broker answers and will never do what it is asked: a permission or a setting is in the way."""


class NoWorker(BrokerError):
    """No worker consumes the queue that a message was sent to."""


class ReplyTimeout(BrokerError):
    """Workers are there, but no reply came in time."""


class WorkerFailed(BrokerError):
    """A worker reports why the job can't continue."""


def _tree(root: type[LookalikeError]) -> dict[str, type[LookalikeError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


def error_to_json(error: LookalikeError) -> dict[str, Any]:
    """An error for another process: `kind`, a class name of this tree, and the sentence, `message`.

    An error with a remedy has `found`, only the facts, and `remedy` too, and an error of an image its `status`: a
    version that does not know them ignores them.
    """
    table: dict[str, Any] = {"kind": type(error).__name__, "message": str(error)}
    if isinstance(error, ImageError):
        table["status"] = error.status
    return table if error.remedy is None else table | {"found": error.found, "remedy": error.remedy.to_json()}


def error_from_json(table: Mapping[str, Any]) -> LookalikeError:
    """The inverse of `error_to_json`; KeyError, TypeError or ValueError if `table` is no such error.

    A kind that this version does not know, as a newer worker may send it, becomes a plain `LookalikeError`; a remedy
    that it does not know stays in the sentence. An ImageError without a status, as from an older worker, has the
    default status of its class.
    """
    kind = _tree(LookalikeError).get(table["kind"], LookalikeError)
    remedy = Remedy.from_json(table["remedy"]) if "remedy" in table else None
    error = kind(table["message"]) if remedy is None else kind(str(table["found"]), remedy=remedy)
    status = table.get("status")
    if isinstance(error, ImageError) and status is not None:
        if not isinstance(status, str):
            raise TypeError(f"the status {status!r} is no text")
        error.status = status
    return error
