"""Show a bundle: what it holds, what its answers are worth, and that they are approximate."""

import shlex

from coordinator.export.export import Exported
from shared.job.bundle.facts import Bundle
from shared.job.directory import JobDir
from shared.text import size


def exported_lines(exported: Exported, place: JobDir) -> list[str]:
    """The lines that `export` prints at its end."""
    bundle, images = exported.bundle, max(exported.images, 1)
    kinds = ", ".join(f"{kind} {size(count)}" for kind, count in exported.bytes.items() if count)
    return [
        f"{exported.images:,} images in {place.path}: {size(bundle.bytes)} ({kinds}), "
        f"{bundle.bytes / images:,.0f} bytes an image",
        f"{bundle.recall_text} against the exact answers of the job, {bundle.error_text}, "
        f"{exported.p50_ms:.2f} ms a query (p50)",
        f"Search it:  lookalike search {shlex.quote(str(place.path))} "
        + ("IMAGE" if exported.dim is None else f"--vector FILE.npy   (floats [{exported.dim}])"),
    ]


def status_line(bundle: Bundle) -> str:
    """The line of `status` about a bundle."""
    removed = f", without the {bundle.removed:,} that were removed" if bundle.removed else ""
    return f"bundle      {bundle.named} by {bundle.made_by}{removed}; {_thumbnails(bundle)}, {size(bundle.bytes)}"


def approximate_line(bundle: Bundle, *, exact: bool) -> str:
    """What `search` says of the answers of a bundle."""
    how = "compared with the codes of all images" if exact else bundle.recall_text
    return f"The answers are those of a bundle, and similarities approximate: {how}, {bundle.error_text}."


def _thumbnails(bundle: Bundle) -> str:
    if not bundle.thumbnails:
        return "no thumbnails"
    without = f" ({bundle.without_thumbnail:,} images have none)" if bundle.without_thumbnail else ""
    return f"thumbnails of {bundle.thumbnails} pixels{without}"
