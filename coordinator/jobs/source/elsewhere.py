"""What the other sources of a job hold: an image that is in two sources is one image, of that which had it first."""

from array import array
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from coordinator.jobs.source.keys import PathKeys, key_of
from shared.images.paths import split_member
from shared.job import path_list
from shared.job.opened import OpenJob
from shared.job.source.moved import Moved


@dataclass(slots=True)
class Elsewhere:
    """The images of the other sources of a job, by the paths that they have now, and the archives that these are in.

    An archive is that of one source, which compares it: `archives` are those of others. `renamed` are the files of
    others that have another name now, by the path that was listed. `images` counts those that were asked for and are
    there, `whole` the archives.
    """

    paths: PathKeys
    archives: Collection[str] = frozenset()
    renamed: Collection[str] = frozenset()
    images: int = 0
    whole: set[str] = field(default_factory=set)

    def holds_file(self, path: str) -> bool:
        """Whether the file at `path`, an image or an archive, is that of another source; it is counted then."""
        if path in self.archives:
            self.whole.add(path)
            return True
        found = path in self.paths
        self.images += found
        return found

    def holds(self, path: str) -> bool:
        """Whether the image at `path` is that of another source, or in an archive of one; it is counted then."""
        inside = split_member(path) if self.archives and "::" in path else None
        found = path in self.paths or (inside is not None and inside[0] in self.archives)
        self.images += found
        return found

    @property
    def note(self) -> str:
        """How many were met, in a sentence; "" for none."""
        counts = ((self.images, "image"), (len(self.whole), "archive"))
        met = [f"{count:,} {what}{'s' * (count != 1)}" for count, what in counts if count]
        if not met:
            return ""
        are = "is" if self.images + len(self.whole) == 1 else "are"
        return f"{' and '.join(met)} {are} in another source of the job already, and there only once"


def elsewhere(job: OpenJob, number: int, moved: Moved) -> Elsewhere:
    """What all sources of a job hold but the one of this number, in eight bytes an image.

    Raises CorruptFile where a path list can't be read.
    """
    keys, archives, renamed = array("Q"), set(), set()
    for partition in job.partitions if len(job.sources) > 1 or number else ():
        others = np.setdiff1d(job.kept(partition), job.kept(partition, number))
        others = others[~job.state.were_named(others)]  # They are of each source that has them.
        if not len(others):
            continue
        paths = path_list.read_paths(job, partition)
        last = ""
        for image_id in others.tolist():
            listed = paths[image_id - partition.start]
            path = moved.now(listed)
            keys.append(key_of(path))
            inside = None
            # Most images come from the archive of the one before.
            if "::" in path and not (last and path.startswith(last)) and (inside := split_member(path)) is not None:
                archives.add(inside[0])
                last = f"{inside[0]}::"
            if moved.renamed:
                file = listed if "::" not in listed else (split_member(listed) or (listed,))[0]
                if file in moved.renamed:
                    renamed.add(file)
    return Elsewhere(PathKeys(np.frombuffer(keys, np.uint64)), archives, renamed)
