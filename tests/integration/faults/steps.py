"""The moments of each role's work at which a test kills, stops or freezes it, in the order in which they come."""

from collections.abc import Callable
from typing import Any

from tests.integration.faults.faults import Fault, Faults

Step = Callable[[Faults, str], Fault]
"""Makes the rule that does something (kill, wait) once, to the first process that comes to this step."""

# Workers of one test hold leases for so long that a live one on a busy machine keeps its own.
SHORT_LEASE: dict[str, Any] = {"LOOKALIKE_LEASE_SECONDS": "1"}


def step(name: str, *, after: int = 0) -> Step:
    return lambda faults, do: faults.on_step(name, do=do, after=after, times=1)


def file(op: str, pattern: str, *, after: int = 0) -> Step:
    return lambda faults, do: faults.on_file(op, pattern, do=do, after=after, times=1)


EMBED = {
    "in the model": step("embed_batch", after=4),
    "in the middle of writing a chunk": file("write", "*/chunks/0000/.0004.*", after=1),
    "before a chunk is synced": file("fsync", "*/chunks/0000/.0006.*"),
    "before a chunk gets its name": file("link", "*/chunks/0000/0008.parquet"),
    "before a chunk's first name goes": file("unlink", "*/chunks/0000/.0010.*"),
    "in the middle of writing the sealed files": file("write", "*/img_emb/.*", after=5),
    "before the sealed files get their names": file("replace", "*/metadata/*"),
    "before the seal marker gets its name": file("link", "*/ledger/0000.json"),
    "while the chunks of a sealed partition are removed": file("unlink", "*/chunks/0000/0012.parquet"),
}
FEATURES = {
    "before a chunk gets its name": EMBED["before a chunk gets its name"],
    "before the features are written": step("write_features"),
    "before they are marked as whole": step("mark_features"),
}
DUPLICATES = {
    "asked": step("ask_pairs"),
    "compared": step("commit_compared"),
}
FINER = {
    "in the model": step("embed_batch", after=3),
    "in a commit": step("commit_finer", after=1),
}
COPIES = {
    "while the images are read": file("open-read", "*.jpg", after=5),
    "in the model": step("embed_batch", after=3),
    "in the middle of writing the copies": file("write", "*/.copies.parquet.*", after=1),
    "before the copies get their name": file("replace", "*/copies.parquet"),
}
MERGE = {
    "while the sealed files are checked": step("check_sealed"),
    "in training": step("train_index"),
    "in adding": step("add_to_index"),
    "before the index is written": step("write_index"),
    "in measuring": step("measure_index"),
    "before index.json is written": file("open-write", "*/.index.json.*"),
    "before index.json gets its name": file("replace", "*/index.json"),
    "between index.json and CURRENT": step("promote_build"),
    "before CURRENT is synced": file("fsync", "*/.CURRENT.*"),
    "before CURRENT gets its name": file("replace", "*/CURRENT"),
}
COORDINATOR = {
    "before the manifest is written": step("write_manifest"),
    "before it asks for a partition": step("send_embed"),
    "while it looks": step("look", after=1),
}
