"""The command `lookalike show`: describe an image of a job, and take it out of its folder, archive or URL."""

import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from coordinator.commands.options import Job, Json
from coordinator.display import terminal
from coordinator.display.terminal import err, out
from coordinator.jobs.source.named_images import find_image, image_facts
from shared.errors import ImageError, UsageError
from shared.images.location import Location, read_bytes
from shared.images.paths import expanded, is_url, shown_path, split_member, to_os_path
from shared.job import path_list
from shared.job.bundle.stored_image import read_image
from shared.job.changes.log import removal_of
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.storage.files import written_aside


def show(
    job: Job,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image id, or a path as hits give it.")],
    output: Annotated[
        Path | None, typer.Option("-o", metavar="FILE", help="Write the image's bytes there; - for stdout.")
    ] = None,
    open_it: Annotated[
        bool, typer.Option("--open", help="Open the image with the program that this machine has.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what JOB knows of an image; with -o or --open also take it out, from an archive or a URL too."""
    if as_json and output == Path("-"):
        raise UsageError("--json and -o - don't go together: both write to stdout.")
    opened = open_job(JobDir.at(job))
    image_id = find_image(opened, image)
    if opened.state.is_purged(image_id) and (output is not None or open_it):
        raise ImageError(
            f"The image {image_id:,} of {opened.path} was removed ({removal_of(opened, image_id).named}), and its path "
            "left the job with a compaction: where it was is not known any more.",
            "vanished",
        )
    partition = opened.partition_of(image_id)
    location = path_list.read_location(opened, partition, image_id)
    facts = image_facts(opened, image_id)
    if output == Path("-"):
        terminal.write_bytes(_bytes(opened, image_id, location))
        return
    if as_json:
        terminal.show_json(facts)
    else:
        for name, value in facts.items():
            if value is not None:
                out.print(f"{name:<14} {shown_path(value) if name == 'image_path' else value}")
    if output is not None:
        with written_aside(expanded(output)) as aside:
            aside.write_bytes(_bytes(opened, image_id, location))
        err.print(f"written to {output}")
    if open_it:
        _open(opened, image_id, location)


def _bytes(job: OpenJob, image_id: int, location: Location) -> bytes:
    """The bytes of an image; of a bundle its thumbnail where the photo is not there, and that is said."""
    if job.manifest.bundle is None:
        return read_bytes(location.place, job.manifest.max_image_bytes, location.member)
    data, is_photo = read_image(job, image_id, location)
    if not is_photo:
        err.print(f"{shown_path(location.place)} is not the photo here, or not there: this is its thumbnail")
    return data


def _open(job: OpenJob, image_id: int, location: Location) -> None:
    """Open an image with the program that this machine has for it; where there is no screen, say where it is."""
    path = Path(to_os_path(location.place))
    if job.manifest.bundle is not None or is_url(location.place) or split_member(location.place):
        data = _bytes(job, image_id, location)
        suffix = PurePosixPath(location.path).suffix
        # It has to outlive this command: a viewer opens it afterwards.
        handle, name = tempfile.mkstemp(suffix, "lookalike-")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        path = Path(name)
    elif not path.is_file():
        raise ImageError(f"The image {location.place} is no longer there.", "vanished")
    if typer.launch(str(path)):
        err.print(f"No program opened it here; the image is {path}")
