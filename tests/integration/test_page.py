"""The page as people use it: a real browser, a real server with its query worker, and photographs.

All share one server and one browser: what a test leaves in the address or the size of the window is its own.
"""

import base64
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from coordinator.local.broker import EmbeddedBroker
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.job.partition import ledger
from tests.integration.faults.faults import light_model
from tests.support.browser import AXE, PATIENCE_MILLISECONDS, browser, chromium
from tests.support.http_api import READ_KEY, WRITE_KEY, key_file
from tests.support.images.scenes import scene
from tests.support.make_job import commit_chunks, make_job
from tests.support.processes import LOOKALIKE, Process, children_of, commands_with, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)

PHOTOS, COPIES = 12, 2
IMAGES = PHOTOS + COPIES
ADDRESSES = {
    "#/holiday/search": ".drop",
    "#/holiday/search?like=1&k=4": ".found .tile .badge",
    "#/holiday/search?like=1&k=4&hit=1": ".compare table",
    "#/holiday/duplicates": ".duplicates .summary",
    "#/holiday/job": "table.failed",
}
"""An address of each view, and what is there when it is whole."""
WIDE, TALL = (300, 360), (200, 260)
LISTED, BEGUN = 60, 25
"""The images of a job that is being made, and those of them that are embedded."""


@dataclass(frozen=True)
class Served:
    """A server and the photographs of its job; `crop` is a part of the first one, and no image of the job.

    At `keyed` is another server: with keys, it serves a copy of the job and one that is being made as well, and it
    fetches URLs. Its queries go to the worker of the first one, by their `broker`.
    """

    place: str
    keyed: str
    broker: str
    server: Process
    job: Path
    photos: list[Path]
    crop: Path
    browser: Browser


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, require: Callable[[object, str], None]) -> Iterator[Served]:
    require(chromium(), "There is no Chromium: apt-get install chromium.")
    folder = tmp_path_factory.mktemp("page")
    photos = []
    (folder / "photos").mkdir()
    for number in range(PHOTOS):
        width, height = WIDE if number % 2 else TALL
        photos.append(folder / "photos" / f"photo {number}.jpg")
        cv2.imwrite(str(photos[-1]), scene(number, height, width))
    # One is half as large, and one has the bytes of another.
    cv2.imwrite(str(folder / "photos" / "small 4.jpg"), cv2.resize(scene(4, TALL[1], TALL[0]), None, fx=0.5, fy=0.5))
    (folder / "photos" / "twin 5.jpg").write_bytes(photos[5].read_bytes())
    (folder / "photos" / "broken.jpg").write_bytes(photos[0].read_bytes()[:900])
    crop = folder / "crop.jpg"
    cv2.imwrite(str(crop), scene(1, WIDE[1], WIDE[0])[60:330, 40:260])
    job = folder / "jobs" / "holiday"
    env = environment() | light_model()
    for asked in (("index", folder / "photos", job), ("duplicates", job)):
        done = run(*asked, env=env)
        assert done.returncode == 0, done.stderr
    shutil.copytree(job, job.parent / "copy")
    make_job(job.parent / "begun", listed=LISTED, partition_size=BEGUN, sealed=(0,))
    with ExitStack() as stack:
        server = started(stack, folder / "server.log", env, str(job))
        place = place_of(server)
        broker = stack.enter_context(EmbeddedBroker(job.parent, start=False))
        options = ("--keys", str(key_file(folder)), "--allow-urls", "--broker", broker.url)
        keyed = started(stack, folder / "keyed.log", env, "--jobs-root", str(job.parent), *options)
        chromium_there = stack.enter_context(browser(video_of(photos[1], folder / "camera.y4m")))
        yield Served(place, place_of(keyed), broker.url, server, job, photos, crop, chromium_there)


def started(stack: ExitStack, log: Path, env: dict[str, str], *options: str) -> Process:
    server = Process([LOOKALIKE, "serve", "--port", "0", *options], log, env)
    stack.callback(server.stop)
    return server


def place_of(server: Process) -> str:
    (place,) = wait_until(lambda: re.findall(r"^(http://\S+) serves", server.output, re.MULTILINE), "it listens")
    return str(place)


def video_of(photo: Path, path: Path) -> Path:
    """A video of one frame that shows a photograph, for a camera."""
    image = cv2.imread(str(photo))
    assert image is not None
    frame = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes()
    head = f"YUV4MPEG2 W{image.shape[1]} H{image.shape[0]} F5:1 Ip A1:1 C420\nFRAME\n"
    path.write_bytes(head.encode() + frame)
    return path


@pytest.fixture
def page(served: Served) -> Iterator[Page]:
    """A page that nothing is wrong with: no script fails, and nothing is refused for what it may not do."""
    context = served.browser.new_context(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    shown = context.new_page()
    wrong: list[str] = []
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("console", lambda told: wrong.append(told.text) if "Content Security" in told.text else None)
    yield shown
    context.close()
    assert wrong == []


def drop(page: Page, path: Path) -> None:
    """Let a file fall on the page, as out of a file manager."""
    encoded = base64.b64encode(path.read_bytes()).decode()
    data = page.evaluate_handle(
        """([encoded, name]) => {
            const bytes = Uint8Array.from(atob(encoded), (one) => one.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], name));
            return data;
        }""",
        [encoded, path.name],
    )
    page.dispatch_event("#main", "drop", {"dataTransfer": data})


def opened(page: Page, served: Served | str, address: str = "") -> None:
    page.goto(f"{served if isinstance(served, str) else served.place}/{address}")
    expect(page.locator("nav")).to_be_visible()


def at_rest(page: Page) -> None:
    """The panel beside the hits is drawn for the second time, with what is known of the job: it stays as it is now."""
    expect(page.locator("#column")).to_have_count(1)


def hits(page: Page) -> Locator:
    return page.locator(".found .tile:visible")


def test_a_dropped_image_is_found_and_compared_by_keyboard(page: Page, served: Served) -> None:
    opened(page, served)
    at_rest(page)
    page.locator("summary").click()
    page.get_by_label("Compare pictures").select_option("always")
    drop(page, served.crop)
    expect(hits(page)).to_have_count(IMAGES)
    first = hits(page).first
    expect(first.locator(".badge")).to_have_text("same picture")
    expect(first.locator(".name")).to_contain_text("photo 1.jpg")
    assert "crop" not in page.url

    expect(first.locator("img")).to_have_js_property("complete", True)
    assert first.locator("img").evaluate("image => image.naturalWidth") > 0
    assert "same picture" in str(first.locator("img").get_attribute("alt"))

    first.locator("a").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.locator(".compare h1")).to_have_text("photo 1.jpg")
    expect(page.locator(".pane .outline polygon")).to_have_count(2)
    # The crop begins at (40, 60) of the hit, and both are drawn where their pixels are.
    left, top = page.locator(".pane").nth(1).locator("polygon").evaluate("one => [one.points[0].x, one.points[0].y]")
    assert (abs(left - 40) < 6, abs(top - 60) < 6) == (True, True), (left, top)
    expect(page.locator("tr.differs", has_text="bytes")).to_be_visible()

    page.keyboard.press("+")
    expect(page.locator(".zoom output")).to_have_text("150 %")
    scales = page.locator(".inner").evaluate_all(
        "all => all.map((one) => one.style.transform.match(/scale\\((.*?)\\)/)[1])"
    )
    assert scales == ["1.5", "1.5"]
    page.keyboard.press("o")
    expect(page.get_by_label("How much of the hit is shown")).to_be_visible()
    page.keyboard.press("o")
    page.keyboard.press("x")
    assert page.locator(".pane figcaption").all_inner_texts() == ["hit", "query"]
    page.keyboard.press("ArrowRight")
    expect(page.locator(".compare .number").first).to_have_text(f"2 of {IMAGES}")
    page.keyboard.press("Escape")
    expect(hits(page).nth(1).locator("a")).to_be_focused()


def test_a_picture_of_the_camera_and_one_in_the_clipboard_are_searched_with(page: Page, served: Served) -> None:
    page.context.grant_permissions(["camera", "clipboard-read", "clipboard-write"])
    opened(page, served, "#/holiday/search?verify=always")
    expect(page.locator("#url")).to_have_count(0)  # This server fetches no URLs.
    at_rest(page)
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take the picture").click()
    expect(page.locator(".query figcaption")).to_have_text("photo.jpg")
    expect(hits(page)).to_have_count(IMAGES)
    expect(hits(page).first.locator(".name")).to_contain_text("photo 1.jpg")
    expect(hits(page).first.locator(".badge")).to_have_text(re.compile("same (pixels|picture)"))
    assert page.locator(".query img").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [*WIDE]

    for number, paste in ((2, by_key), (3, by_button)):
        copy(page, served.photos[number])
        paste(page)
        expect(page.locator(".query figcaption")).to_have_text(re.compile("pasted image|image.png"))
        expect(hits(page).first.locator(".name")).to_contain_text(f"photo {number}.jpg")
        expect(hits(page).first.locator(".badge")).to_have_text("same pixels")
        page.evaluate("navigator.clipboard.writeText('https://photos.example/a.jpg')")
        paste(page)
        expect(page.locator(".toast").last).to_have_text("There is no image in the clipboard.")

    hits(page).first.locator("a").click()
    page.get_by_role("button", name="Copy path").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == str(served.photos[3])
    page.keyboard.press("Escape")

    page.context.clear_permissions()
    page.get_by_role("button", name="Camera").click()
    expect(page.locator(".told")).to_have_text("The browser gives no access to the camera. Choose a file instead.")
    page.get_by_role("button", name="Paste").click()
    expect(page.locator(".toast").last).to_contain_text("The browser gives no access to the clipboard.")


def by_key(page: Page) -> None:
    page.keyboard.press("Control+v")


def by_button(page: Page) -> None:
    page.get_by_role("button", name="Paste").click()


def copy(page: Page, path: Path) -> None:
    """Copy an image, as out of another program."""
    image = cv2.imread(str(path))
    assert image is not None
    page.evaluate(
        """(encoded) => {
            const bytes = Uint8Array.from(atob(encoded), (one) => one.charCodeAt(0));
            const image = new Blob([bytes], { type: "image/png" });
            return navigator.clipboard.write([new ClipboardItem({ "image/png": image })]);
        }""",
        base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode(),
    )


def test_the_slider_filters_without_asking_again_and_a_hit_is_searched_with(page: Page, served: Served) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/search") else None)
    opened(page, served)
    page.set_input_files("#file", served.photos[2])
    expect(hits(page)).to_have_count(IMAGES)
    expect(hits(page).first.locator(".badge")).to_have_text("same bytes")
    similar = [float(text) for text in page.locator(".tile .number").all_inner_texts()]
    between = (similar[3] + similar[4]) / 2
    slider = page.get_by_label("Similarity from")
    slider.evaluate("(one, value) => { one.value = value; one.dispatchEvent(new Event('input')) }", between)
    at = float(slider.input_value())
    expect(hits(page)).to_have_count(max(1, sum(one >= at - 1e-3 for one in similar)))
    assert len(asked) == 1

    second = hits(page).nth(1).locator("a")
    wanted = second.get_attribute("data-id")
    second.focus()
    page.keyboard.press("Space")
    expect(page.locator(".query figcaption")).to_have_text(f"image {wanted} of the job")
    assert f"like={wanted}" in page.url
    expect(hits(page).first.locator("a")).to_have_attribute("data-id", str(wanted))
    page.reload()
    expect(hits(page).first.locator("a")).to_have_attribute("data-id", str(wanted))
    page.go_back()
    expect(page.locator(".note", has_text="not in its address")).to_be_visible()


def test_a_part_is_cut_out_and_searched_with(page: Page, served: Served) -> None:
    opened(page, served)
    page.set_input_files("#file", served.photos[3])
    expect(hits(page)).to_have_count(IMAGES)
    page.get_by_role("button", name="Search with a part").click()
    frame = page.get_by_role("application")
    expect(frame).to_be_focused()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator(".query figcaption")).to_have_text("a part of photo 3.jpg")
    size = page.locator(".query img").evaluate(
        "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    )
    assert size == [round(WIDE[0] * 0.62), round(WIDE[1] * 0.6)]
    expect(hits(page)).to_have_count(IMAGES)


def test_filters_come_from_the_columns_and_a_wrong_one_is_a_sentence(page: Page, served: Served) -> None:
    opened(page, served, "#/holiday/search?like=2&k=5")
    expect(hits(page)).to_have_count(5)
    page.get_by_label("Column").select_option("width")
    page.get_by_label("Comparison").select_option(">")
    page.get_by_label("Value").fill("250")
    page.get_by_label("Value").press("Enter")
    expect(page.get_by_label("Expression")).to_have_value("width > 250")
    expect(page.locator(".note", has_text="hits instead of")).to_have_count(0)
    expect(hits(page)).to_have_count(5)
    page.locator("#k").fill("14")
    page.locator("#k").press("Enter")
    expect(hits(page)).to_have_count(IMAGES // 2)
    expect(page.locator(".note", has_text="7 hits instead of 14: the filter leaves no more.")).to_be_visible()
    page.get_by_label("Expression").fill("wide > 3")
    page.get_by_label("Expression").press("Enter")
    expect(page.locator(".state")).to_contain_text("wide")
    expect(page.locator(".state")).to_contain_text("The columns are")


def test_with_keys_the_page_asks_for_one_and_keeps_what_works_in_this_tab_alone(page: Page, served: Served) -> None:
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    kept = "[{ ...sessionStorage }, localStorage.length, document.cookie]"
    page.goto(served.keyed)
    asked = page.get_by_role("dialog", name="A key is needed")
    for wrong in ("x" * 40, "kéy of another alphabet"):
        asked.get_by_label("Key").fill(wrong)
        page.keyboard.press("Enter")
        expect(asked.get_by_role("alert")).to_have_text("The server has no such key, so it was not kept.")
        assert page.evaluate(kept) == [{}, 0, ""]
        asked.get_by_label("Key").fill("")
        expect(asked.get_by_role("alert")).to_have_text("The server has no such key, so it was not kept.")
    serious_problems(page, "the dialog of the key")
    asked.get_by_label("Key").fill(READ_KEY)
    asked.get_by_role("button", name="Use this key").click()
    expect(page.locator(".jobs a")).to_have_text(["begun", "copy", "holiday"])
    serious_problems(page, "the jobs")
    assert page.evaluate(kept) == [{"lookalike-key": READ_KEY}, 0, ""]

    # It is read with, thumbnails too, and changes nothing.
    opened(page, served.keyed, "#/copy/duplicates")
    expect(page.locator(".summary")).to_contain_text("2 groups · 0 decided")
    # An image that was not begun is complete too: its bytes are fetched with the key first.
    shown = page.locator(".members .well:not(.loading) img").first
    expect(shown).to_have_js_property("complete", True)
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.keyboard.press("k")
    expect(asked).to_contain_text("The key phone is good for reading alone")
    expect(page.locator(".summary")).to_contain_text("2 groups · 0 decided")
    asked.get_by_label("Key").fill(WRITE_KEY)
    page.keyboard.press("Enter")
    expect(asked).to_have_count(0)
    expect(page.locator(".summary")).to_contain_text("2 groups · 0 decided")
    page.keyboard.press("k")
    expect(page.locator(".summary")).to_contain_text("2 groups · 1 decided")

    assert [address for address in addresses if READ_KEY in address or WRITE_KEY in address] == []
    other = page.context.new_page()
    other.goto(served.keyed)
    expect(other.get_by_role("dialog", name="A key is needed")).to_be_visible()
    other.close()
    page.get_by_role("button", name="Forget the key").click()
    expect(asked).to_be_visible()
    assert page.evaluate(kept) == [{}, 0, ""]


def test_a_link_is_searched_with_where_the_server_fetches_it(page: Page, served: Served) -> None:
    page.add_init_script(f"sessionStorage.setItem('lookalike-key', '{READ_KEY}')")
    opened(page, served.keyed, "#/copy/search?k=5")
    link = "https://photos.example/of/somebody.jpg?token=secret"
    field = page.get_by_label("URL of an image")
    field.fill("http://127.0.0.1/a.jpg")
    field.press("Enter")
    expect(page.locator(".state h2")).to_have_text("This search can't be answered")
    expect(page.locator(".state p")).to_contain_text("does not lead to a public address")

    # Nothing outside of this machine is asked by a test: an image of the job stands in for what is behind the link.
    asked: list[Any] = []

    def answered(route: Route) -> None:
        asked.append(route.request.post_data_json)
        route.continue_(post_data=json.dumps({"image_id": 2, "k": 5}))

    page.route("**/search", answered)
    field.fill(link)
    field.press("Enter")
    expect(page.locator(".query figcaption")).to_have_text(link)
    expect(hits(page)).to_have_count(5)
    page.reload()
    expect(hits(page)).to_have_count(5)
    assert asked == [{"url": link, "k": 5, "verify": "auto"}] * 2
    hits(page).first.locator("a").click()
    expect(page.locator(".pane .lost")).to_have_text("not shown: this page loads nothing from elsewhere")
    assert "photos.example" not in page.url
    page.keyboard.press("Escape")

    # The same by dropping it, out of another page.
    page.evaluate(
        """(link) => {
            const data = new DataTransfer();
            data.setData("text/uri-list", link);
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
        }""",
        f"{link}&dropped",
    )
    expect(page.locator(".query figcaption")).to_have_text(f"{link}&dropped")


def test_a_job_that_is_being_made_is_searched_as_far_as_it_is(page: Page, served: Served) -> None:
    page.add_init_script(f"sessionStorage.setItem('lookalike-key', '{READ_KEY}')")
    opened(page, served.keyed, "#/begun/search?like=1&k=30&verify=never")
    expect(hits(page)).to_have_count(BEGUN)
    notes = page.locator(".note").all_inner_texts()
    assert notes[0].startswith(f"Searched 41 % of the images: {BEGUN} of {LISTED}.")
    assert notes[1] == "25 hits instead of 30: the job has no more embedded images."
    page.get_by_role("link", name="Job", exact=True).click()
    expect(page.get_by_role("heading", name="Embedding: 41 % done")).to_be_visible()
    expect(page.get_by_role("heading", name="No index yet")).to_be_visible()
    pending = page.locator(".figures div", has_text="pending").locator("dd")
    expect(pending).to_have_text(str(LISTED - BEGUN))

    # What is committed meanwhile is seen as it happens.
    job = open_job(JobDir.at(served.job.parent / "begun"))
    second = job.manifest.partition(1)
    commit_chunks(job, np.random.default_rng(1).normal(size=(LISTED, 16)), *job.chunks(second))
    ledger.seal_partition(job, second)
    expect(pending).to_have_text(str(LISTED - 2 * BEGUN))
    expect(page.get_by_role("heading", name="Embedding: 83 % done")).to_be_visible()


def test_a_file_that_is_no_image_has_its_reason(page: Page, served: Served, tmp_path: Path) -> None:
    opened(page, served)
    (tmp_path / "letter.jpg").write_text("Dear photo, you are none.")
    drop(page, tmp_path / "letter.jpg")
    expect(page.locator(".state h2")).to_have_text("This image can't be searched with")
    expect(page.locator(".state p")).to_contain_text("begins like none of the formats")
    expect(page.locator(".query .lost")).to_have_text("no preview in this browser")
    drop(page, served.photos[0].with_name("broken.jpg"))
    expect(page.locator(".state p")).to_contain_text("The file is cut short after 900 bytes")
    expect(page.locator(".state h2")).to_have_text("This image can't be searched with")


def test_the_job_view_tells_what_failed_and_how_good_the_index_is(page: Page, served: Served) -> None:
    opened(page, served, "#/holiday/job")
    expect(page.get_by_role("heading", name="All images are done")).to_be_visible()
    expect(page.locator(".figures div", has_text="embedded").locator("dd")).to_have_text(str(IMAGES))
    expect(page.locator("table.failed")).to_contain_text("broken.jpg")
    expect(page.locator(".figures div", has_text="recall@10")).to_be_visible()
    expect(page.get_by_text("Verdicts were not measured")).to_be_visible()
    expect(page.get_by_text("lookalike evaluate holiday")).to_be_visible()
    expect(page.locator("figure.sweep")).to_have_count(0)
    with page.expect_request("**/events"):
        page.reload()


def test_the_job_view_draws_the_sweep_of_an_evaluation_and_has_its_figures_as_a_table(
    page: Page, served: Served
) -> None:
    page.route("**/v1/jobs/holiday", evaluated)
    opened(page, served, "#/holiday/job")
    picture = page.get_by_role("img", name=re.compile(r"at 6 widths\. The one that serves: 0\.990 in 2 mill"))
    expect(picture).to_be_visible()
    lefts, tops = zip(
        *picture.locator(".point").evaluate_all(
            "all => all.map((one) => [one.cx, one.cy].map((at) => at.baseVal.value))"
        ),
        strict=True,
    )
    milliseconds = [point["p50_ms"] for point in SWEEP]
    assert sorted(range(6), key=lambda one: lefts[one]) == sorted(range(6), key=lambda one: milliseconds[one])
    recalls = [point["recall_at_10"] for point in SWEEP]
    assert sorted(range(6), key=lambda one: -tops[one]) == sorted(range(6), key=lambda one: recalls[one])
    serves = picture.locator(".serves").evaluate("one => [one.cx.baseVal.value, one.cy.baseVal.value]")
    assert serves == [lefts[1], tops[1]]
    ticks = [float(text) for text in picture.locator("text").all_text_contents() if re.fullmatch(r"[\d.]+", text)]
    assert len(ticks) >= 6
    expect(page.locator(".legend li")).to_have_text(
        ["50 compared exactly", "200 compared exactly", "the width that serves"]
    )
    page.get_by_text("The figures as a table").click()
    assert page.locator(".widths tbody tr").count() == len(SWEEP)
    expect(page.locator(".widths tr", has_text="serves")).to_have_text("8500.99002.003.00serves")
    expect(page.get_by_text("48 of 48 copies are proven to show their original")).to_be_visible()
    expect(page.get_by_text("Fusion: the original of an altered copy is found first in 98.8 %")).to_be_visible()

    # That of an earlier build is named, and what was tried when this one was tuned is drawn.
    page.unroute("**/v1/jobs/holiday")
    page.route("**/v1/jobs/holiday", evaluated_before)
    page.reload()
    expect(page.locator(".note", has_text="The last evaluation is of the build 0009-0badcafe")).to_be_visible()
    expect(page.locator("figcaption")).to_have_text("Measured while the index was tuned.")
    expect(page.get_by_text("Evaluated since")).to_have_count(0)


SWEEP = [
    {"nprobe": nprobe, "depth": depth, "recall_at_10": recall, "p50_ms": ms, "p99_ms": ms + 1, "promoted": ms == 2.0}
    for nprobe, depth, recall, ms in (
        (4, 50, 0.91, 1.0), (8, 50, 0.99, 2.0), (16, 50, 0.992, 4.0),
        (4, 200, 0.92, 1.5), (8, 200, 0.993, 3.0), (16, 200, 0.999, 12.0),
    )
]  # fmt: skip


def evaluated(route: Route) -> None:
    """The job as the server describes it, as if it had been evaluated, with fusion, and it had verdicts."""
    described(route, None)


def evaluated_before(route: Route) -> None:
    """The same, but the evaluation is of an earlier build, and this one was tuned."""
    described(route, "0009-0badcafe")


def described(route: Route, build: str | None) -> None:
    told = route.fetch().json()
    index = told["index"]
    if build is not None:
        index["sweep"] = SWEEP[:3]
    row = {"alteration": "flip", "copies": 48, "same_bytes": 0, "same_pixels": 40, "same_picture": 8}
    verdicts = index["verdicts"] | {"copies": 48, "proven": 48, "strangers": 144, "by_alteration": [row]}
    index["evaluation"] = {
        "build": build or index["build"], "cores": 2, "recall_at_10": 0.99, "queries": 500,
        "p50_ms": 2.0, "p99_ms": 3.0, "batch": 64, "queries_per_second": 1000.5, "verdicts": verdicts, "sweep": SWEEP,
    }  # fmt: skip
    trial = "Fusion: the original of an altered copy is found first in 98.8 % against 94.4 % of 720 copies: kept"
    route.fulfill(json=told | {"fusion": trial})


def test_on_a_phone_it_is_one_column_in_the_dark_with_targets_for_fingers(page: Page, served: Served) -> None:
    page.set_viewport_size({"width": 380, "height": 800})
    opened(page, served, "#/holiday/search?like=1&k=4")
    expect(hits(page)).to_have_count(4)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    lefts = hits(page).evaluate_all("all => all.map((one) => one.getBoundingClientRect().left)")
    assert len(set(lefts)) == 1
    page.route("**/v1/jobs/holiday", evaluated)
    for address, whole in ADDRESSES.items():
        opened(page, served, address)
        expect(page.locator(whole).first).to_be_visible()
        for figures in page.locator(".sweep summary").all():
            figures.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 380, address
        small = page.evaluate(
            """() => [...document.querySelectorAll("button, a, select, input, summary")]
                .filter((one) => one.checkVisibility() && !one.matches(".skip, .unseen"))
                .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
                .filter(([, box]) => box.height < 43.5 || box.width < 43.5).map(([text]) => text)"""
        )
        assert small == [], address


def serious_problems(page: Page, where: str) -> None:
    """Nothing serious is found by axe, with the colours of the day and with those of the night."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    for scheme, only in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = page.evaluate("(options) => axe.run(options).then((told) => told.violations)", only)
        serious = [
            (one["id"], [node["html"][:120] for node in one["nodes"]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], (where, scheme)


def test_axe_finds_nothing_serious_by_day_and_by_night(page: Page, served: Served) -> None:
    page.route("**/v1/jobs/holiday", evaluated)
    for address, whole in ADDRESSES.items():
        opened(page, served, address)
        expect(page.locator(whole).first).to_be_visible()
        for figures in page.locator(".sweep summary").all():
            figures.click()
        serious_problems(page, address)
    opened(page, served, "#/holiday/search?like=1&k=4")
    at_rest(page)
    page.get_by_role("button", name="Search with a part").click()
    expect(page.get_by_role("application")).to_be_focused()
    serious_problems(page, "a part")


def test_the_keys_are_listed_and_tab_goes_through_all_in_order(page: Page, served: Served) -> None:
    opened(page, served, "#/holiday/search?k=4")
    at_rest(page)
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent"))
    assert reached == [
        "Skip to the content", "lookalike", "Search", "Duplicates", "Job", "API", "?", "Choose an image", "Paste",
        "Camera", "Settings: 4 hits",
    ]  # fmt: skip
    page.keyboard.press("?")
    listed = page.get_by_role("dialog", name="Keys")
    keys = " ".join(listed.locator("kbd").all_inner_texts()).split()
    used = {"Ctrl", "V", "←", "↑", "→", "↓", "Home", "End", "Enter", "Space", "Esc", "+", "−", "0", "x", "o", "Shift"}
    assert set(keys) == used | {"K", "N", "O", "S", "C", "?"}
    page.keyboard.press("Escape")
    expect(listed).to_have_count(0)

    # From the first link to the content, which stays what it is; and a setting keeps the focus when it is used.
    page.set_input_files("#file", served.photos[2])
    expect(hits(page)).to_have_count(4)
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    expect(hits(page)).to_have_count(4)
    page.locator("#k").fill("5")
    page.locator("#k").press("Enter")
    expect(hits(page)).to_have_count(5)
    expect(page.locator("#k")).to_be_focused()
    hits(page).first.locator("a").focus()
    page.keyboard.press("End")
    expect(hits(page).last.locator("a")).to_be_focused()


def test_the_match_page_of_one_search_opens_from_disk(page: Page, served: Served, tmp_path: Path) -> None:
    file = tmp_path / "match.html"
    done = run(
        "search",
        served.job,
        served.crop,
        "--verify",
        "always",
        "-k",
        "5",
        "--html",
        file,
        "--broker",
        served.broker,
        env=environment() | light_model(),
    )
    assert done.returncode == 0, done.stderr
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    page.goto(file.as_uri())
    expect(hits(page)).to_have_count(5)
    expect(hits(page).first.locator(".badge")).to_have_text("same picture")
    assert page.locator(".query img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 220
    hits(page).first.locator("a").click()
    expect(page.locator(".pane .outline polygon")).to_have_count(2)
    original = page.get_by_role("link", name="Open original")
    expect(original).to_have_attribute("href", served.photos[1].as_uri())
    page.keyboard.press("ArrowRight")
    expect(page.locator(".compare .number").first).to_have_text("2 of 5")
    page.keyboard.press("Escape")
    expect(hits(page)).to_have_count(5)
    assert {url.partition(":")[0] for url in loaded} <= {"file", "data"}


def test_states_of_a_server_that_has_nothing_starts_or_went_away_help(page: Page, served: Served) -> None:
    page.route("**/v1/jobs?*", lambda route: route.fulfill(json={"jobs": [], "next": None}))
    page.goto(served.place)
    expect(page.locator(".state h2")).to_have_text("There is no job yet")
    expect(page.locator(".state")).to_contain_text("lookalike index")
    page.unroute("**/v1/jobs?*")

    answers = [
        {"status": 503, "headers": {"Retry-After": "1"}, "json": {"detail": "The query worker is starting."}},
        {"status": 504, "json": {"detail": "No worker answered in 120 s."}},
        {"status": 409, "json": {"detail": "Nothing of it is embedded yet."}},
    ]
    again: list[Route] = []  # The second answer waits until what is shown before it was looked at.
    page.route("**/search", lambda route: route.fulfill(**answers.pop(0)) if answers else route.abort())
    page.route("**/search", lambda route: again.append(route), times=1)
    page.route("**/search", lambda route: route.fulfill(**answers.pop(0)), times=1)
    opened(page, served, "#/holiday/search?like=1")
    expect(page.locator(".note")).to_contain_text("The query worker is starting. It is asked again.")
    expect(page.locator(".grid[aria-hidden]")).to_be_visible()
    wait_until(lambda: (page.title(), again)[1], "it is asked again").pop().fulfill(**answers.pop(0))
    expect(page.locator(".state h2")).to_have_text("No query worker answers")
    serious_problems(page, "no query worker")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".state h2")).to_have_text("There is nothing to search yet")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".state h2")).to_have_text("The server is away")
    page.unroute("**/search")
    held: list[Route] = []
    page.route("**/search", lambda route: held.append(route))
    page.clock.install()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".grid[aria-hidden]")).to_be_visible()
    assert page.evaluate("document.getAnimations().length") == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate("document.getAnimations().length") > 0
    page.clock.run_for(3_000)
    expect(page.locator(".note")).to_contain_text("The first answer loads the model, which takes some seconds.")
    held.pop().continue_()
    expect(hits(page)).to_have_count(IMAGES)


def test_duplicates_are_gone_through_by_keyboard_and_what_was_decided_is_never_asked_again(
    page: Page, served: Served
) -> None:
    opened(page, served, "#/holiday/duplicates")
    expect(page.locator(".summary")).to_contain_text("2 groups · 0 decided")
    expect(page.locator(".one")).to_have_count(2)
    first = page.locator(".members .name").first.inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.locator('.members [aria-pressed="true"]')).to_be_focused()
    page.keyboard.press("c")
    expect(page.locator(".compare .pane img")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(page.locator(".members")).to_be_visible()
    page.keyboard.press("k")
    expect(page.locator(".summary")).to_contain_text("1 decided")
    expect(page.locator(".one")).to_have_count(1)
    expect(page.locator(".members .name").first).not_to_have_text(first)
    page.keyboard.press("n")
    expect(page.locator(".state h2")).to_have_text("All groups are decided")

    page.reload()
    expect(page.locator(".state h2")).to_have_text("All groups are decided")
    expect(page.locator(".summary")).to_contain_text("1 group · 1 decided")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("group,id,image_path,suggested,decision,")
    assert sorted(line.split(",")[3:5] for line in lines[1:]) == [["", "keep"], ["keep", "not kept"]]


def test_what_is_typed_stays_a_value_in_an_expression_and_a_text_in_a_spreadsheet(page: Page, served: Served) -> None:
    opened(page, served)
    condition = "asked => import('/page/parts/filter.js').then((told) => told.condition(...asked))"
    for asked, written in (
        (["width", ">", "250", "number"], "width > 250"),
        (["width", ">", "1 OR 1=1", "number"], "width > '1 OR 1=1'"),
        (["caption", "=", "it's", "text"], "caption = 'it''s'"),
        (["caption", "contains", "5' OR", "text"], "contains(caption, '5'' OR')"),
        (['a "b"', "begins with", "x", "text"], """starts_with("a ""b\"\"", 'x')"""),
    ):
        assert page.evaluate(condition, asked) == written
    csv = "rows => import('/page/views/duplicates.js').then((told) => told.csv(rows))"
    rows = [{"id": 1, "path": "=cmd()"}, {"id": -2, "path": 'a,"b"'}]
    assert page.evaluate(csv, rows) == 'id,path\r\n1,\'=cmd()\r\n-2,"a,""b"""\r\n'


def test_of_ten_thousand_groups_only_those_in_sight_are_in_the_page(page: Page, served: Served) -> None:
    def group(number: int) -> dict[str, object]:
        images = [{"id": 2, "image_path": f"{number}.jpg"}, {"id": 3, "image_path": "b.jpg", "verdict": "same bytes"}]
        return {"keep": 2, "reason": "", "images": images, "beside": []}

    groups = [group(number) for number in range(10_000)]
    told = {"images": 20_000, "notes": [], "count": len(groups), "next": None, "groups": groups}
    page.route("**/duplicates?*", lambda route: route.fulfill(json=told))
    opened(page, served, "#/holiday/duplicates")
    expect(page.locator(".summary")).to_contain_text("10,000 groups")
    assert page.locator(".one").count() < 40
    elements = page.locator(".windowed").evaluate(
        """async (list) => {
            const counts = [];
            for (let at = 0; at <= 50; at++) {
                list.scrollTo(0, (at / 50) * list.scrollHeight);
                await new Promise(requestAnimationFrame);
                await new Promise(requestAnimationFrame);
                counts.push(document.querySelectorAll("*").length);
            }
            return counts;
        }"""
    )
    assert len(elements) == 51
    assert max(elements) < 700
    last = page.locator('.one[data-index="9999"]')
    expect(last).to_be_in_viewport()
    assert page.locator(".one").count() < 40
    last.click()
    expect(page.locator(".members .name").first).to_have_text("9999.jpg")


def test_a_worker_that_is_killed_is_back_and_the_search_is_answered(page: Page, served: Served) -> None:
    opened(page, served, "#/holiday/search?like=2&k=3")
    expect(hits(page)).to_have_count(3)
    at_rest(page)
    ours = set(children_of(served.server.popen.pid))
    workers = [pid for pid, _ in commands_with(" workers --queues query ") if pid in ours]
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    page.locator("#k").fill("4")
    page.locator("#k").press("Enter")
    expect(hits(page)).to_have_count(4)
