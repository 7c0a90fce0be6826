"""Make the change that a message asks for: what takes long first, the rest under the lock of the job, once."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from shared.errors import JobMismatch, UsageError
from shared.images.location import Location
from shared.images.paths import absolute
from shared.job.bundle.facts import refuse_bundle
from shared.job.changes.adding import NewRows, add_partitions, require_growing, require_new, require_vectors
from shared.job.changes.lock import changing
from shared.job.changes.log import DELETE, Change, change_of, write_change
from shared.job.changes.removing import require_there
from shared.job.directory import JobDir
from shared.job.index.uncovered import merge_due
from shared.job.opened import OpenJob, open_job
from shared.job.partition.features.wanted import makes_features
from shared.job.partition.sealing import METADATA_SCHEMA
from shared.job.source.moved import stored_path
from shared.job.source.values import columns_of, table_of
from shared.messages.changed import Changed
from shared.messages.changes import ChangeJob
from shared.processes.failpoints import failpoint
from shared.settings import Settings
from shared.storage import files, scratch
from shared.vectors import to_unit_vectors
from workers.embed.changes.embedding import digest_of, embed_images
from workers.embed.changes.replaced import Replaced, merged

PATIENCE_SECONDS: Final = 30.0
"""How long a change waits for another one of the same job."""
_FACTS: Final = pa.schema(list(METADATA_SCHEMA)[2:])


@dataclass(frozen=True, slots=True, eq=False)
class _New:
    """What is to be added, without its source metadata: the paths where the images are now, what was read of them, the
    bytes that the job is to hold itself, by their place in it, and the images' features, where the job wants them.

    `began` is when the first was read, by the monotonic clock.
    """

    paths: Sequence[str]
    facts: pa.Table
    embeddings: np.ndarray
    stored: Mapping[Path, bytes] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    features: Sequence[bytes | None] | None = None


def apply(
    job: JobDir, message: ChangeJob, settings: Settings, require_going: Callable[[], None] = lambda: None
) -> Changed:
    """Make the change that `message` asks for, or find that it was made; `require_going` is called meanwhile.

    Images are read and embedded before the job is locked, and another change is waited for up to half a minute. A kill
    leaves the job as it was, or changed: the same message again is done once. Raises JobBusy when the other one takes
    longer, JobMismatch for a job that is frozen or of another model, NoIndexYet before its first index, ImageError for
    an image that can't be embedded, UsageError for metadata that does not fit, JobError for ids and paths that can't be
    meant; nothing is changed then.
    """
    opened, name = open_job(job), f"{message.request}/{message.digest}"
    refuse_bundle(opened.path, opened.manifest.bundle, "changed")  # Before anything is embedded for it.
    if (done := _done(opened, message, name)) is not None:
        return done
    if message.action == "delete":
        with changing(opened, PATIENCE_SECONDS) as locked:
            return _done(locked, message, name) or _removed(locked, message, name)
    require_growing(opened)
    _require_values(opened, message)
    new = _prepared(opened, message, settings, require_going) if len(message) else None
    with changing(opened, PATIENCE_SECONDS) as locked:  # It may have been made meanwhile, by another worker.
        return _done(locked, message, name) or _added(locked, message, name, new)


def _done(job: OpenJob, message: ChangeJob, name: str) -> Changed | None:
    """What was done for a message whose request has this `name` in the log; None where nothing was yet."""
    change = change_of(job, message.request)
    if change is None:
        return None
    if change.request != name:
        raise UsageError(f"The request {message.request!r} was another one ({change.named}): name this one anew.")
    return _changed(job, change)


def _changed(job: JobDir, change: Change) -> Changed:
    ids = [image for part in change.partitions for image in range(part.start, part.stop)] or change.removed.tolist()
    return Changed(ids, change.number, merge_due(job))


def _removed(job: OpenJob, message: ChangeJob, name: str) -> Changed:
    ids = np.unique(np.array(message.ids, np.int64))
    require_there(job, ids)
    change = Change(job.state.number + 1, DELETE, removed=ids, reasons={"by id": len(ids)}, request=name)
    write_change(job, job.manifest, change)
    return _changed(job, change)


def _added(job: OpenJob, message: ChangeJob, name: str, new: _New | None) -> Changed:
    require_growing(job)
    replaced = [Replaced.of(job, image_id) for image_id in message.ids]
    given = message.metadata or ({},) * max(1, len(message))
    if new is None:
        rows, stored = replaced[0].with_metadata(given[0]), {}
    else:
        values = [merged(replaced[0].known if replaced else None, one) for one in given]
        known = table_of(columns_of(job), values)
        facts = {name: table[name] for table in (new.facts, known) for name in table.schema.names}
        listed, seconds = require_new(job, new.paths, message.ids), time.monotonic() - new.began
        rows = NewRows(listed, pa.table(facts), new.embeddings, seconds=seconds, features=new.features)
        stored = dict(new.stored)
    with _held(job, stored):
        change = add_partitions(
            job,
            message.action,
            rows.partitions(job),
            removed=np.array(message.ids, np.int64),
            reasons={"updated": 1} if message.ids else {},
            request=name,
        )
    return _changed(job, change)


@contextmanager
def _held(job: OpenJob, stored: Mapping[Path, bytes]) -> Iterator[None]:
    """Write what the job is to hold itself; it is removed again unless the change of the block is made."""
    written = []
    try:
        for path, data in stored.items():
            if not path.is_file():
                failpoint("write_added")
                written.append(path)
                files.write_bytes(path, data)
        yield
    except BaseException:
        if not job.change(job.state.number + 1).is_file():
            for path in written:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                    path.parent.rmdir()
        raise


def _require_values(job: OpenJob, message: ChangeJob) -> None:
    """Raise what the metadata and the paths of a message would raise once all is embedded."""
    if message.metadata is not None:
        table_of(columns_of(job), message.metadata)
    for image_id in message.ids:
        Replaced.of(job, image_id)
    if message.vectors is None and message.images:
        require_new(job, _paths(message), message.ids)


def _paths(message: ChangeJob) -> list[str]:
    """The path of each image of a message: where it is now, or its place in the job that is to hold it."""
    return [
        absolute(image.path) if image.path else stored_path(digest_of(image.data), image.name)
        for image in message.images
    ]


def _prepared(job: OpenJob, message: ChangeJob, settings: Settings, require_going: Callable[[], None]) -> _New:
    if message.vectors is not None:
        return _vectors(job, message)
    if job.manifest.model.is_imported:
        raise JobMismatch(
            f"{job.path} holds vectors that were imported, and images can't be embedded for it: add vectors of the "
            f"model {job.manifest.model.name!r}."
        )
    from workers.models.loaded import loaded_embedder  # Vectors need no model.

    paths, began, features = _paths(message), time.monotonic(), makes_features(job)
    with scratch.staged("images") as directory:
        locations, stored = [], {}
        for number, (image, path) in enumerate(zip(message.images, paths, strict=True)):
            if image.path:
                locations.append(Location(path))
                continue
            # Not in the job yet: what is refused must leave nothing there.
            directory.mkdir(exist_ok=True)
            (directory / str(number)).write_bytes(image.data)
            locations.append(Location(image.name, None, str(directory / str(number))))
            stored[job.added(digest_of(image.data), image.name)] = image.data
        embedder = loaded_embedder(job.manifest.model, job.model_dir, settings)
        threads = settings.decode_threads or os.cpu_count() or 1
        made = embed_images(locations, job.manifest, embedder, threads, require_going, features=features)
    facts = pa.table(
        {one.name: pa.array([getattr(image, one.name) for image in made.images], one.type) for one in _FACTS}
    )
    return _New(paths, facts, made.embeddings, stored, began, made.features)


def _vectors(job: OpenJob, message: ChangeJob) -> _New:
    assert message.vectors is not None
    require_vectors(job, message.model, message.vectors.shape[1])
    units, good = to_unit_vectors(message.vectors)
    if not good.all():
        raise UsageError(
            f"The vector {int(np.flatnonzero(~good)[0]):,} of {len(good):,} is zero or not finite, so it has no "
            "direction: nothing was added."
        )
    old = (Replaced.of(job, message.ids[0]).path,) if message.ids else (None,) * len(units)
    given = message.paths or old
    # The request names them apart from those of any other.
    paths = [path or f"{message.request}#{row}" for row, path in enumerate(given)]
    return _New(paths, pa.table([pa.nulls(len(units), one.type) for one in _FACTS], schema=_FACTS), units)
