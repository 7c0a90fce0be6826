"""The command `lookalike show`: describe an image of a job, and take it out of its folder, archive or URL."""

import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import pyarrow.compute as pc
import typer

from coordinator.client.stored_query import is_image_id, require_image_id
from coordinator.commands.options import Job, Json
from coordinator.display import terminal
from coordinator.display.terminal import err, out
from shared.errors import ImageError, QueryError, UsageError
from shared.images.location import Location, read_bytes
from shared.images.paths import expanded, is_url, member_text, shown_path, split_member, to_os_path, to_text
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import Manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.source.moved import read_moved
from shared.storage.files import written_aside
from shared.storage.parquet import read_table


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
    image_id, location = _found(opened, image)
    facts = _facts(opened, image_id)
    if output == Path("-"):
        terminal.write_bytes(read_bytes(location.place, opened.manifest.max_image_bytes, location.member))
        return
    if as_json:
        terminal.show_json(facts)
    else:
        for name, value in facts.items():
            if value is not None:
                out.print(f"{name:<14} {shown_path(value) if name == 'image_path' else value}")
    if output is not None:
        with written_aside(expanded(output)) as aside:
            aside.write_bytes(read_bytes(location.place, opened.manifest.max_image_bytes, location.member))
        err.print(f"written to {output}")
    if open_it:
        _open(location, opened.manifest)


def _found(job: OpenJob, image: str) -> tuple[int, Location]:
    """The id of an image and where it is; `image` is its id, its path, or what that was before the source moved."""
    if is_image_id(image):
        image_id = require_image_id(job, image)
        partition = job.partition_of(image_id)
        return image_id, path_list.read_locations(job, partition)[image_id - partition.start]
    moved = read_moved(job)
    typed = (image, _as_listed(image))
    # What hits say now comes first: the old and the new place may be in each other.
    for wanted in dict.fromkeys((frozenset(map(moved.listed, typed)), frozenset(typed))):
        for partition in job.partitions:
            for place, path in enumerate(path_list.read_paths(job, partition)):
                if path in wanted:
                    return partition.start + place, path_list.read_locations(job, partition, moved)[place]
    raise QueryError(f"{job.path} lists no image {image}: give its id, or its path as the hits of a search give it.")


def _as_listed(image: str) -> str:
    """The text that a job lists for an image that was typed: of a path the absolute one."""
    if is_url(image):
        return image
    if (inside := split_member(image)) is not None:
        archive, name = inside
        return member_text(_as_listed(archive), name)
    return to_text(os.path.abspath(os.path.expanduser(to_os_path(image))))


def _facts(job: OpenJob, image_id: int) -> dict[str, Any]:
    """What the job knows of an image: its row of the sealed metadata or errors, or that it is not embedded yet."""
    partition = job.partition_of(image_id)
    known = path_list.read_known(job, partition).slice(image_id - partition.start, 1).to_pylist()
    listed = path_list.read_paths(job, partition)[image_id - partition.start]
    facts: dict[str, Any] = {"id": image_id, "image_path": read_moved(job).now(listed)}
    if not ledger.is_sealed(job, partition.number):
        return facts | {"status": "not sealed yet"} | (known[0] if known else {})
    for path in (job.metadata(partition.number), job.errors(partition.number)):
        table = read_table(path)
        rows = table.filter(pc.equal(table["id"], image_id)).to_pylist()
        if rows:
            row: dict[str, Any] = rows[0] | {"image_path": facts["image_path"]}
            return {"status": "embedded"} | row if path == job.metadata(partition.number) else row
    return facts


def _open(location: Location, manifest: Manifest) -> None:
    """Open an image with the program that this machine has for it; where there is no screen, say where it is."""
    path = Path(to_os_path(location.place))
    if is_url(location.place) or split_member(location.place):
        data = read_bytes(location.place, manifest.max_image_bytes, location.member)
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
