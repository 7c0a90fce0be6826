"""A real browser, without a screen: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

AXE = Path(__file__).parent / "vendored" / "axe-core-4.14.1" / "axe.min.js"
PATIENCE_MILLISECONDS = 90_000
"""How long a page may take for what is expected of it, on a machine that does much else."""
# Root may run it too, as in CI, and it asks nobody on the internet.
_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


def chromium() -> str | None:
    """Where a Chromium of this machine is; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def browser(camera: Path | None = None) -> Iterator[Browser]:
    """A browser for many pages. `camera` is a video, .y4m, which its camera shows again and again."""
    seen = [] if camera is None else [f"--use-file-for-fake-video-capture={camera}"]
    options = [*_OPTIONS, "--use-fake-device-for-media-stream", *seen]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=options)
        try:
            yield started
        finally:
            started.close()
