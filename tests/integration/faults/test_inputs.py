"""Folders as people have them: whatever is in one, `lookalike index` ends with every image embedded or explained."""

import json
import os
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from shared.images.paths import to_os_path
from shared.job.directory import JobDir
from shared.job.opened import open_job
from tests.integration.faults.faults import Faults, light_model
from tests.support.images.photographs import make_photos
from tests.support.images.strange import (
    SIDE,
    deflated_zeros,
    encoded,
    gif,
    grey_tiff,
    patched,
    png,
    png_16_bit,
    tiled_tiff,
    ycck,
)
from tests.support.processes import QUICK, Process, children_of, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)

Start = Callable[..., Process]
GOOD = 40
ODD_NAMES = [b"new\nline.jpg", "snow \u2603 \U0001f600.jpg".encode(), b"bytes\xff\xfe.jpg", b" %41.jpg", b"-k 3.jpg"]


class Peak:
    """The largest peak memory that any process below `pid` has had, in MB, looked at until `stop`."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            below = [self._pid]
            for pid in below:
                below += children_of(pid)
                try:
                    found = Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()
                except OSError:
                    continue
                self.megabytes = max(self.megabytes, int(found[0]) // 1024 if found else 0)

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self.megabytes


def formats() -> dict[str, bytes]:
    """A picture in every format that is decoded, each another one."""

    def picture(number: int, mode: str = "RGB") -> Image.Image:
        coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((96, 64)).convert(mode)

    white = Image.new("RGB", (96, 64), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "sixteen.png": png_16_bit(np.asarray(picture(1001))),
        "sixteen-alpha.png": png_16_bit(np.asarray(picture(1002, "RGBA"))),
        "cmyk.jpg": encoded(picture(1003, "CMYK"), "JPEG"),
        "ycck.jpg": ycck(picture(1004)),
        "progressive.jpg": encoded(picture(1005), "JPEG", progressive=True),
        "turned.jpg": encoded(picture(1006), "JPEG", exif=exif),
        "animated.gif": encoded(picture(1007), "GIF", save_all=True, append_images=[white]),
        "animated.webp": encoded(picture(1008), "WEBP", save_all=True, append_images=[white]),
        "pages.tiff": encoded(picture(1009), "TIFF", compression="tiff_lzw", save_all=True, append_images=[white]),
        "tiled.tif": tiled_tiff(np.asarray(picture(1010, "L")), 32),
        "grey-alpha.png": encoded(picture(1011, "LA"), "PNG"),
        "palette.png": encoded(picture(1012).quantize(64), "PNG", transparency=3),
        "one-bit.png": encoded(picture(1013, "1"), "PNG"),
        "photo.avif": encoded(picture(1014), "AVIF"),
        "photo.jp2": encoded(picture(1015), "JPEG2000"),
        "one-pixel.png": encoded(Image.new("RGB", (1, 1), (200, 9, 9)), "PNG"),
        "thin.png": encoded(picture(1016).resize((1, 20_000)), "PNG"),
        "text.png": encoded(picture(1017), "PNG"),
    }


def failures() -> dict[str, tuple[str, bytes]]:
    """Files that can't become embeddings, by their name: the status each must get, and its bytes."""
    plain = encoded(Image.new("RGB", (64, 48), (9, 200, 9)), "JPEG")
    scans = encoded(Image.new("L", (2000, 2000)), "JPEG", progressive=True)
    zeros = deflated_zeros(1 << 27)
    return {
        "empty.jpg": ("empty", b""),
        "text.jpg": ("not-an-image", b"this is no image\n"),
        "half.jpg": ("truncated", encoded(Image.effect_noise((90, 90), 50), "JPEG")[:900]),
        "header bomb.png": ("oversized", png(SIDE, SIDE, b"")),
        "honest bomb.png": ("oversized", png(SIDE, SIDE, zeros, bits=1, colour=0, compressed=True)),
        "frame bomb.gif": ("oversized", gif((8, 8), (SIDE, SIDE))),
        "tiff bomb.tif": ("oversized", grey_tiff(SIDE, SIDE, b"", SIDE)),
        "data bomb.png": ("undecodable", png(1, 1, zeros, compressed=True)),
        "scan bomb.jpg": ("undecodable", scans[:-2] + scans[scans.rindex(b"\xff\xda") : -2] * 9_000 + b"\xff\xd9"),
        "size bomb.jp2": (
            "oversized",  # By its code stream, though its box says 64 x 48.
            patched(encoded(Image.new("RGB", (64, 48)), "JPEG2000"), b"\xff\x4f\xff\x51", 8, ">II", SIDE, SIDE),
        ),
        "phone.jpg": ("truncated", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99)),
        "float.tif": ("undecodable", encoded(Image.fromarray(np.full((9, 9), 300, np.float32)), "TIFF")),
        "grey.png": ("no-direction", encoded(Image.new("RGB", (64, 64), (128, 128, 128)), "PNG")),
        "locked.jpg": ("unreadable", plain),
        # What these are when they are read differs from what they are when they are listed.
        "deleted.jpg": ("vanished", plain),
        "becomes a folder.jpg": ("unreadable", plain),
        "becomes a pipe.jpg": ("unreadable", plain),
        "becomes zero.jpg": ("unreadable", plain),
        "becomes empty.jpg": ("empty", plain),
    }


def odd_paths(folder: Path) -> list[bytes]:
    return [os.path.join(os.fsencode(folder / "odd"), name) for name in ODD_NAMES]


def lay_out(folder: Path) -> tuple[set[bytes], dict[bytes, str], Counter[str], bytes]:
    """Fill `folder`; the paths that must be embedded, those that must fail by status, what is left out, a long path."""
    pictures = make_photos(folder / "good", GOOD + len(ODD_NAMES) + 1, (90, 120))
    embedded = {os.fsencode(path) for path in pictures[:GOOD]}
    (folder / "odd").mkdir()
    for path, picture in zip(odd_paths(folder), pictures[GOOD:], strict=False):
        os.rename(picture, path)
        embedded.add(path)
    for name, data in formats().items():
        (folder / name).write_bytes(data)
        embedded.add(os.fsencode(folder / name))
    failed = {}
    for name, (status, data) in failures().items():
        (folder / name).write_bytes(data)
        failed[os.fsencode(folder / name)] = status
    (folder / "link to nothing.jpg").symlink_to(folder / "never there.jpg")
    (folder / "link to itself.jpg").symlink_to(folder / "link to itself.jpg")
    failed[os.fsencode(folder / "link to nothing.jpg")] = "vanished"
    failed[os.fsencode(folder / "link to itself.jpg")] = "unreadable"

    longest, tooth = lay_out_long_paths(folder, pictures[-1])
    embedded.add(longest)
    failed[tooth] = "unreadable"

    (folder / "notes.txt").write_text("not listed\n")
    (folder / "loop").symlink_to(folder)
    (folder / "itself").symlink_to(folder / "itself")
    (folder / "no entry").mkdir()
    (folder / "no entry" / "hidden.jpg").write_bytes(b"hidden")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:  # Its path may have 107 bytes, so it is made elsewhere.
        listener.bind(f"/proc/self/fd/{(handle := os.open(folder, os.O_RDONLY))}/socket.png")
        os.close(handle)
    left_out = {
        ".txt": 1,
        "folder with too long a path": 1,
        "folder without permission": 1,
        "link to a folder above itself": 1,
        "link to nothing": 1,
        "not a regular file": 3,
    }
    return embedded, failed, Counter(left_out), longest


def lay_out_long_paths(folder: Path, picture: Path) -> tuple[bytes, bytes]:
    """Move `picture` to the longest path that can be opened, beside one that is a byte longer and a folder of such."""
    longest = os.pathconf(folder, "PC_PATH_MAX") - 1
    path = os.fsencode(folder)
    into = [os.open(folder, os.O_RDONLY)]

    def step(name: bytes) -> None:
        os.mkdir(name, dir_fd=into[-1])
        into.append(os.open(name, os.O_RDONLY, dir_fd=into[-1]))

    # What is left for the last name must fit into one, with a byte to spare, wherever the test's own folder is.
    while (rest := longest - len(path) - 1) > 250:
        name = b"n" * min(200, rest - 50)
        step(name)
        path += b"/" + name
    fits, tooth = b"f" * (rest - 4) + b".jpg", b"g" * (rest - 3) + b".jpg"
    os.link(picture, tooth, dst_dir_fd=into[-1])
    os.rename(picture, fits, dst_dir_fd=into[-1])
    step(b"d" * (rest + 1))
    os.close(os.open("unseen.jpg", os.O_CREAT, dir_fd=into[-1]))
    for handle in into:
        os.close(handle)
    return path + b"/" + fits, path + b"/" + tooth


def change_between_listing_and_reading(folder: Path) -> None:
    for name in ("deleted", "becomes a folder", "becomes a pipe", "becomes zero"):
        (folder / f"{name}.jpg").unlink()
    (folder / "becomes a folder.jpg").mkdir()
    os.mkfifo(folder / "becomes a pipe.jpg")
    (folder / "becomes zero.jpg").symlink_to("/dev/zero")
    (folder / "becomes empty.jpg").write_bytes(b"")


def rows_of(job: JobDir, kind: str) -> list[dict[str, object]]:
    return [row for path in sorted((job.path / kind).iterdir()) for row in pq.read_table(path).to_pylist()]


def raw(path: object) -> bytes:
    return os.fsencode(to_os_path(str(path)))


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_whatever_lies_in_a_folder_is_embedded_or_explained_and_the_job_is_searchable(
    tmp_path: Path, start: Start
) -> None:
    folder, job = tmp_path / "photos", JobDir.at(tmp_path / "jobs" / "job")
    embedded, failed, left_out, longest = lay_out(folder)
    faults = Faults(tmp_path / "faults")
    faults.on_file("listdir", str(folder / "no entry"), error="EACCES")  # Root may do all, so chmod would not do.
    faults.on_file("open-read", str(folder / "locked.jpg"), error="EACCES")
    begin = faults.on_step("embed_partition", do="wait")
    env = environment(**QUICK) | faults.environment(light=True)

    coordinator = start("index", folder, job.path, "--chunk-size", "16", env=env)
    peak = Peak(coordinator.popen.pid)
    try:
        wait_until(lambda: begin.reached, "the images are listed and about to be read")
        change_between_listing_and_reading(folder)
        begin.lift()
        assert coordinator.wait() == 0, coordinator.output
    finally:
        megabytes = peak.stop()

    found = rows_of(job, "metadata")
    errors = {raw(row["image_path"]): row for row in rows_of(job, "errors")}
    assert {path: row["status"] for path, row in errors.items()} == failed
    assert {raw(row["image_path"]) for row in found} == embedded
    assert all(str(row["error_message"]).endswith(".") for row in errors.values())
    job = open_job(job)
    assert Counter(job.manifest.source.left_out) == left_out
    assert job.listed == len(embedded) + len(failed)
    for reason, count in left_out.items():
        assert f"{count} {reason}" in coordinator.output
    assert 100 < megabytes < 500  # One bomb that is decoded takes gigabytes.

    queries = [*odd_paths(folder), longest]
    done = run("search", job.path, "-k", "1", "--json", "--", *map(os.fsdecode, queries), env=env)
    assert done.returncode == 0, done.stderr
    for query, answer in zip(queries, json.loads(done.stdout), strict=True):
        (hit,) = answer["hits"]
        assert raw(hit["image_path"]) == query
        with open(to_os_path(hit["image_path"]), "rb") as file:
            assert file.read(3) == b"\xff\xd8\xff"


def test_two_thousand_files_of_one_byte_are_two_thousand_rows(tmp_path: Path) -> None:
    folder, job = tmp_path / "photos", JobDir.at(tmp_path / "jobs" / "job")
    make_photos(folder, 3, (90, 120))
    for number in range(2_000):
        (folder / f"{number:05d}.jpg").write_bytes(struct.pack("B", number % 256))
    env = environment(**QUICK) | light_model()
    done = run("index", folder, job.path, env=env)
    # Nothing but failures in its first chunk is asked about, before it takes an hour to find no image at all.
    assert (done.returncode, "All 1,000 images of one chunk failed" in done.stderr) == (1, True), done.stderr
    done = run("index", folder, job.path, "--accept-failures", env=env)
    assert done.returncode == 0, done.stderr
    errors = rows_of(job, "errors")
    assert Counter(row["status"] for row in errors) == {"not-an-image": 2_000}
    assert [row["image_path"] for row in errors] == [str(folder / f"{number:05d}.jpg") for number in range(2_000)]
    assert len(rows_of(job, "metadata")) == 3
