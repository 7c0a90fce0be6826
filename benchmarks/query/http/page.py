"""Measure the page in a browser: what its first view loads, when it can be used, and how a long list scrolls.

python -m benchmarks.query.http.page JOB [--loads 20] [--groups 10000] [--out FILE] [--docs]
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, Route, sync_playwright

from benchmarks.query.http.serving import server
from benchmarks.support import program
from benchmarks.support.tables import header_table, size, table
from shared.errors import UsageError

RESULTS: Final = program.RESULTS / "page.json"
_SCROLLS = 300
_ROWS_A_FRAME = 5
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# The first moment at which an image can be chosen: the button is there, and with it what it does.
_WATCH = """
new MutationObserver((_, watcher) => {
    if (!document.querySelector(".ways button.main")) return;
    globalThis.usableAt = performance.now();
    watcher.disconnect();
}).observe(document, { childList: true, subtree: true });
"""
_LOADED = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .filter((one) => !new URL(one.name).pathname.startsWith("/v1/"))
    .map((one) => ({ name: new URL(one.name).pathname, bytes: one.transferSize }))"""
_SCROLL = """async ([scrolls, step]) => {
    const list = document.querySelector(".windowed");
    const frames = [];
    let most = 0;
    let last = await new Promise(requestAnimationFrame);
    for (let number = 0; number < scrolls; number++) {
        list.scrollTop += step;
        const now = await new Promise(requestAnimationFrame);
        frames.push(now - last);
        last = now;
        most = Math.max(most, document.querySelectorAll("*").length);
    }
    return { frames, most };
}"""


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.query.http.page", description="Measure the page.")
    parser.add_argument("job", type=Path, metavar="JOB", help="a job that is served")
    parser.add_argument("--loads", type=int, default=20, help="how often the page is loaded anew, and again")
    parser.add_argument("--groups", type=int, default=10_000, help="made groups of duplicates in the list")
    program.add_out(parser, RESULTS)
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise UsageError("There is no chromium on this machine: install it first.")
    command = f"python -m benchmarks.query.http.page JOB --loads {arguments.loads} --groups {arguments.groups}"
    results = program.head("page", command, "starlette", "uvicorn")
    started = time.perf_counter()
    job = arguments.job.resolve()
    with (
        tempfile.TemporaryDirectory(prefix="lookalike-page-") as folder,
        server([str(job)], Path(folder)) as ((host, port), _),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=_OPTIONS)
        place = f"http://{host}:{port}"
        program.log("the first view")
        results |= {"browser": browser.version, "first_view": _first_view(browser, place, arguments.loads)}
        program.log("scrolling")
        results["scrolling"] = _scrolling(browser, f"{place}/#/{job.name}/duplicates", arguments.groups)
        browser.close()
    results["wall_seconds"] = round(time.perf_counter() - started, 1)
    program.write(arguments.out.resolve(), results)
    program.show(page_tables(results), docs=arguments.docs)


def _first_view(browser: Browser, place: str, loads: int) -> dict[str, Any]:
    """Bytes and milliseconds from the beginning of the navigation: in a new window with a cache of its own, which takes
    the browser a process; in that window again; and there with the cache left aside."""
    window, again, anew, files = list[float](), list[float](), list[float](), list[dict[str, Any]]()
    for _ in range(loads):
        context = browser.new_context()
        page = context.new_page()
        page.add_init_script(_WATCH)
        for times in (window, again, anew):
            if times is anew:
                page.context.new_cdp_session(page).send("Network.setCacheDisabled", {"cacheDisabled": True})
            page.goto(place)
            page.locator(".ways button.main").wait_for()
            times.append(round(page.evaluate("usableAt"), 1))
            page.wait_for_load_state("networkidle")
            if times is window:
                files = page.evaluate(_LOADED)
        context.close()
    return {
        "bytes": sum(one["bytes"] for one in files),
        "requests": len(files),
        "window_ms": _summed(window),
        "anew_ms": _summed(anew),
        "again_ms": _summed(again),
    }


def _summed(runs: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(runs), "most": max(runs), "runs": runs}


def _scrolling(browser: Browser, address: str, groups: int) -> dict[str, Any]:
    """Milliseconds between frames while the list of made groups scrolls by some rows a frame."""
    page: Page = browser.new_page(viewport={"width": 1200, "height": 900})
    told = {
        "images": 2 * groups,
        "notes": [],
        "count": groups,
        "next": None,
        "groups": [
            {"keep": 0, "reason": "", "beside": [], "images": [
                {"id": 0, "image_path": f"{number}.jpg"},
                {"id": 1, "image_path": "b.jpg", "verdict": "same bytes"},
            ]}
            for number in range(groups)
        ],
    }  # fmt: skip

    def answered(route: Route) -> None:
        route.fulfill(json=told)

    page.route("**/duplicates?*", answered)
    page.goto(address)
    page.locator(".one").first.wait_for()
    height = page.locator(".one").first.evaluate("one => one.getBoundingClientRect().height")
    found = page.evaluate(_SCROLL, [_SCROLLS, _ROWS_A_FRAME * height])
    frames = sorted(found["frames"])
    page.close()
    return {
        "groups": groups,
        "frames": len(frames),
        "rows_a_frame": _ROWS_A_FRAME,
        "median_ms": round(statistics.median(frames), 1),
        "p99_ms": round(frames[int(0.99 * (len(frames) - 1))], 1),
        "most_elements": found["most"],
    }


def page_tables(results: Mapping[str, Any]) -> dict[str, str]:
    """Every table of the page by its name."""
    first, scrolling = results["first_view"], results["scrolling"]
    rows = [
        ["the first view, without images of the job", f"{size(first['bytes'])} in {first['requests']} requests"],
        ["until an image can be chosen, in a new window", _times(first["window_ms"])],
        ["the same, there anew, nothing cached", _times(first["anew_ms"])],
        ["the same, there again", _times(first["again_ms"])],
        [f"a frame while {scrolling['groups']:,} groups scroll, {scrolling['rows_a_frame']} rows each",
         f"{scrolling['median_ms']:.1f} ms (median), {scrolling['p99_ms']:.1f} ms (p99)"],
        ["elements in the page at most", f"{scrolling['most_elements']:,}"],
    ]  # fmt: skip
    head = header_table(results, [["browser", f"Chromium {results['browser']}"]])
    return {"page-run": head, "page": table(["", "measured"], rows)}


def _times(measured: Mapping[str, Any]) -> str:
    return f"{measured['median']:.0f} ms (median of {len(measured['runs'])}), {measured['most']:.0f} ms (most)"


if __name__ == "__main__":
    sys.exit(main())
