"""Begin a bundle, or continue one: what it is made of, what is left of another one, and whether the disk is enough."""

import json
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from shared.errors import JobError
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.opened import OpenJob
from shared.job.partition.features.counted import FeaturesReader
from shared.job.partition.ledger import Seal
from shared.storage import files
from shared.text import size

_THUMBNAIL_BYTES: Final = 0.25  # For each pixel of a square of that side; photographs of clothes took .19.
_SPARE_BYTES: Final = 16_000_000


def begin(job: OpenJob, bundle: JobDir, seals: Sequence[Seal], thumbnails: int) -> None:
    """Say in the bundle what it is made of, and remove what is there of another one, or of what was killed."""
    made_of = {
        "format": 1,
        "job": str(job.path),
        "identity": job.manifest.identity,
        "change": job.state.number,
        "digest": builds.ledger_digest(seals),
        "thumbnails": thumbnails,
        "features": list(FeaturesReader().bytes(job, seals)),
        "made_by": version_text(),
    }
    data = (json.dumps(made_of, indent=2) + "\n").encode()
    begun = bundle.exporting.read_bytes() if bundle.exporting.is_file() else b""
    if bundle.spec.is_file() and begun != data:  # Its export was killed when it was whole.
        raise JobError(f"{bundle.path} is a bundle already, and not of this: name another folder, or remove it first.")
    bundle.spec.unlink(missing_ok=True)
    for path, ours in list(bundle.files()):
        aside = path.name.startswith(".") and path.suffix == files.TEMPORARY_SUFFIX
        if ours and path not in (bundle.exporting, bundle.creation_lock) and (begun != data or aside):
            path.unlink(missing_ok=True)
    files.write_bytes(bundle.exporting, data)


def require_space(job: OpenJob, bundle: JobDir, seals: Sequence[Seal], info: builds.IndexInfo, thumbnails: int) -> None:
    """Raise JobError where the disk of the bundle is surely too small for what it lacks."""
    images = sum(seal.embedded for seal in seals)
    tables = sum(
        seal.entry(job, path(seal.partition))["bytes"] for seal in seals for path in (job.metadata, job.errors)
    )
    index = min(info.bytes, images * info.dim // 2 + images * 100) if info.type == "Flat" else info.bytes
    needed = sum(seal.embedded * seal.dim for seal in seals) + tables + index
    needed += int(images * thumbnails**2 * _THUMBNAIL_BYTES) + sum(FeaturesReader().bytes(job, seals).values())
    there = sum(path.stat().st_size for path, ours in bundle.files() if ours)
    left = shutil.disk_usage(bundle.path).free
    if needed - there + _SPARE_BYTES > left:
        raise JobError(
            f"The bundle would take about {size(needed - there)} more, and the disk of {bundle.path} has {size(left)} "
            "left: make room, or name a place on another disk."
        )


def version_text() -> str:
    """The version of lookalike that writes the bundle."""
    return f"lookalike {version('lookalike')}"
