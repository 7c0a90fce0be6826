"""The progress of one job at five points of its life."""

from dataclasses import replace

from coordinator.jobs.progress import Progress
from tests.support.builds import info_of

NEW = Progress(
    job="/jobs/clothes",
    model="efficientnet-lite0@0123456789ab",
    listed=100_000,
    embedded=0,
    failed=0,
    partitions={"sealed": 0, "started": 0, "waiting": 2},
    images_per_second=None,
    eta_seconds=None,
    index=None,
    index_is_current=False,
)
UNDER_WAY = replace(
    NEW,
    embedded=17_400,
    failed=100,
    partitions={"sealed": 0, "started": 1, "waiting": 1},
    images_per_second=454.4,
    eta_seconds=181.6,
)
EMBEDDED = replace(NEW, embedded=99_990, failed=10, partitions={"sealed": 1, "started": 1, "waiting": 0})
SEALED = replace(EMBEDDED, partitions={"sealed": 2, "started": 0, "waiting": 0})
DONE = replace(SEALED, index=info_of("0001-ab12cd34"), index_is_current=True)
