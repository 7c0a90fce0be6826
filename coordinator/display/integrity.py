"""Show a verification and a repair as lines and as one JSON object."""

from collections.abc import Sequence
from typing import Literal

from coordinator.display.remedies import command
from coordinator.integrity.findings import Checked, Finding, Kind, checked_line
from shared.errors.remedy import Remedy


def verdict_line(checked: Checked, job: str) -> str:
    """The last line of `verify`."""
    counts = [f"{checked.found[kind]:,} {kind}" for kind in (Kind.DAMAGE, Kind.UNREAD, Kind.LEFTOVER)]
    told = ", ".join(text for text in counts if not text.startswith("0 "))
    mend = f"; mend it with {command(Remedy('repair', job))}" if checked.mendable and not checked.whole else ""
    return f"{checked_line(checked)}: {'nothing is damaged' if checked.whole else 'not whole'}" + (
        f" ({told})" if told else "") + mend  # fmt: skip


def verify_json(job: str, checked: Checked, findings: Sequence[Finding]) -> dict[str, object]:
    """The `--json` of verify."""
    return {
        "job": job,
        "whole": checked.whole,
        "findings": [finding.to_json() for finding in findings],
        "files": checked.files,
        "bytes": checked.bytes,
        "seconds": round(checked.seconds, 3),
    }


def repaired_line(
    mended: int, left: int, checked: Checked, job: str, *, dry_run: bool, maker: Literal["import", "index"] = "index"
) -> str:
    """The last line of `repair`; `maker` made the job."""
    if not mended and not left:
        return f"{checked_line(checked)}: there is nothing to mend"
    what = f"{mended:,} {'would be ' if dry_run else ''}mended"
    rest = f", {left:,} left as {'it is' if left == 1 else 'they are'}" if left else ""
    made = Remedy(maker, job, given={"source": "EMBEDDINGS" if maker == "import" else "SOURCE"})
    again = f"; the next {command(made)} does again what is missing" if mended else ""
    return f"{checked_line(checked)}: {what}{rest}{again}"
