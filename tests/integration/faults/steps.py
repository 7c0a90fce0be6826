"""The moments of each role's work at which a test kills, stops or freezes it, in the order in which they come."""

from collections.abc import Callable
from typing import Any

from tests.integration.faults.faults import Fault, Faults

Step = Callable[[Faults, str], Fault]
"""Makes the rule that does something (kill, wait) once, to the first process that comes to this step."""

# Workers of one test hold leases for so long that a live one on a busy machine keeps its own.
SHORT_LEASE: dict[str, Any] = {"LOOKALIKE_LEASE_SECONDS": "1"}


def call(target: str, *, after: int = 0) -> Step:
    return lambda faults, do: faults.on_call(target, do=do, after=after, times=1)


def file(op: str, pattern: str, *, after: int = 0) -> Step:
    return lambda faults, do: faults.on_file(op, pattern, do=do, after=after, times=1)


EMBED = {
    "in the model": call("workers.embedder:_BatchedEmbedder.embed", after=10),
    "in the middle of writing a chunk": file("write", "*/chunks/0000/.0004.*", after=1),
    "before a chunk is synced": file("fsync", "*/chunks/0000/.0006.*"),
    "before a chunk gets its name": file("link", "*/chunks/0000/0008.parquet"),
    "before a chunk's first name goes": file("unlink", "*/chunks/0000/.0010.*"),
    "in the middle of writing the sealed files": file("write", "*/img_emb/.*", after=5),
    "before the sealed files get their names": file("replace", "*/metadata/*"),
    "before the seal marker gets its name": file("link", "*/ledger/0000.json"),
    "while the chunks of a sealed partition are removed": file("unlink", "*/chunks/0000/0012.parquet"),
}
COPIES = {
    "while the images are read": call("workers.decode:decode_photo", after=5),
    "in the model": call("workers.embedder:_BatchedEmbedder.embed", after=3),
    "in the middle of writing the copies": file("write", "*/.copies.parquet.*", after=1),
    "before the copies get their name": file("replace", "*/copies.parquet"),
}
MERGE = {
    "while the sealed files are checked": call("workers.merging:sealed_images"),
    "in training": call("workers.index:train"),
    "in adding": call("workers.index:add"),
    "before the index is written": call("workers.index:save"),
    "in measuring": call("workers.recall:measure_against"),
    "before index.json is written": call("shared.builds:write_info"),
    "before index.json gets its name": file("replace", "*/index.json"),
    "between index.json and CURRENT": call("shared.builds:promote"),
    "before CURRENT is synced": file("fsync", "*/.CURRENT.*"),
    "before CURRENT gets its name": file("replace", "*/CURRENT"),
}
COORDINATOR = {
    "before the manifest is written": call("shared.manifest:write_manifest"),
    "before it asks for a partition": call("shared.queues:send_embed"),
    "while it looks": call("coordinator.reconcile:Reconciler.look", after=1),
}
