"""The page as people use it: a real browser, a real server with its query worker, and photographs.

All share one server and one browser: what a test leaves in the address or the size of the window is its own.
"""

import base64
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.integration.faults.faults import light_model
from tests.support.browser import AXE, PATIENCE_MILLISECONDS, browser, chromium
from tests.support.images.scenes import scene
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


@dataclass(frozen=True)
class Served:
    """A server and the photographs of its job; `crop` is a part of the first one, and no image of the job."""

    place: str
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
    with ExitStack() as stack:
        server = Process([LOOKALIKE, "serve", str(job), "--port", "0"], folder / "server.log", env)
        stack.callback(server.stop)
        (place,) = wait_until(lambda: re.findall(r"^(http://\S+) serves", server.output, re.MULTILINE), "it listens")
        yield Served(place, server, job, photos, crop, stack.enter_context(browser()))


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


def opened(page: Page, served: Served, address: str = "") -> None:
    page.goto(f"{served.place}/{address}")
    expect(page.locator("nav")).to_be_visible()


def hits(page: Page) -> Locator:
    return page.locator(".found .tile:visible")


def test_a_dropped_image_is_found_and_compared_by_keyboard(page: Page, served: Served) -> None:
    opened(page, served)
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


def test_a_file_that_is_no_image_has_its_reason(page: Page, served: Served, tmp_path: Path) -> None:
    opened(page, served)
    (tmp_path / "letter.jpg").write_text("Dear photo, you are none.")
    drop(page, tmp_path / "letter.jpg")
    expect(page.locator(".state h2")).to_have_text("This image can't be searched with")
    expect(page.locator(".state p")).to_contain_text("begins like none of the formats")
    expect(page.locator(".query .lost")).to_have_text("no preview in this browser")


def test_the_job_view_tells_what_failed_and_how_good_the_index_is(page: Page, served: Served) -> None:
    opened(page, served, "#/holiday/job")
    expect(page.get_by_role("heading", name="All images are done")).to_be_visible()
    expect(page.locator(".figures div", has_text="embedded").locator("dd")).to_have_text(str(IMAGES))
    expect(page.locator("table.failed")).to_contain_text("broken.jpg")
    expect(page.locator(".figures div", has_text="recall@10")).to_be_visible()
    with page.expect_request("**/events"):
        page.reload()


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
    for address, whole in ADDRESSES.items():
        opened(page, served, address)
        expect(page.locator(whole).first).to_be_visible()
        small = page.evaluate(
            """() => [...document.querySelectorAll("button, a, select, input, summary")]
                .filter((one) => one.checkVisibility() && !one.matches(".skip, .unseen"))
                .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
                .filter(([, box]) => box.height < 43.5 || box.width < 43.5).map(([text]) => text)"""
        )
        assert small == [], address


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Page, served: Served, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for address, whole in ADDRESSES.items():
        opened(page, served, address)
        expect(page.locator(whole).first).to_be_visible()
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run().then((told) => told.violations)")
        serious = [
            (one["id"], [node["html"][:120] for node in one["nodes"]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], address


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
        {"status": 409, "json": {"detail": "Nothing of it is embedded yet."}},
    ]
    page.route("**/search", lambda route: route.fulfill(**answers.pop(0)) if answers else route.abort())
    opened(page, served, "#/holiday/search?like=1")
    expect(page.locator(".note")).to_contain_text("The query worker is starting. It is asked again.")
    expect(page.locator(".grid[aria-hidden]")).to_be_visible()
    expect(page.locator(".state h2")).to_have_text("There is nothing to search yet")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".state h2")).to_have_text("The server is away")
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
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
    page.locator(".windowed").evaluate("list => list.scrollTo(0, list.scrollHeight)")
    last = page.locator('.one[data-index="9999"]')
    expect(last).to_be_in_viewport()
    assert page.locator(".one").count() < 40
    last.click()
    expect(page.locator(".members .name").first).to_have_text("9999.jpg")


def test_a_worker_that_is_killed_is_back_and_the_search_is_answered(page: Page, served: Served) -> None:
    opened(page, served, "#/holiday/search?like=2&k=3")
    expect(hits(page)).to_have_count(3)
    ours = set(children_of(served.server.popen.pid))
    workers = [pid for pid, _ in commands_with(" workers --queues query ") if pid in ours]
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    page.locator("#k").fill("4")
    page.locator("#k").press("Enter")
    expect(hits(page)).to_have_count(4)
