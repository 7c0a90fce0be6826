import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shared.job.directory import JobDir
from workers.embed.attempts import Attempt, _ids_in


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    return JobDir(tmp_path / "job")


def in_hand(job: JobDir, partition: int = 3) -> set[int]:
    return {image for path in job.attempts(partition) for image in _ids_in(path)}


def left_behind(job: JobDir, *lines: str) -> None:
    path = job.attempt(3, f"{len(job.attempts(3)):032x}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line:<19}\n" for line in lines))


def test_an_image_stands_in_the_file_while_it_is_in_hand_and_no_longer(job: JobDir) -> None:
    with Attempt(job, 3) as attempt:
        assert in_hand(job) == set()
        with attempt.in_hand(1_234):
            assert in_hand(job) == {1_234}
            assert [path.read_text().split() for path in job.attempts(3)] == [["1234"]]
        assert in_hand(job) == set()


def test_each_thread_has_a_line_of_its_own(job: JobDir) -> None:
    both, seen = threading.Barrier(3, timeout=60), []

    def read(attempt: Attempt, image: int) -> None:
        for number in range(50):
            with attempt.in_hand(image + number):
                if number == 49:
                    both.wait()
                    both.wait()

    with Attempt(job, 3) as attempt:
        threads = [threading.Thread(target=read, args=(attempt, image)) for image in (100, 50_000_000)]
        for thread in threads:
            thread.start()
        both.wait()
        seen.append(in_hand(job))
        both.wait()
        for thread in threads:
            thread.join()
    assert seen == [{149, 50_000_049}]


def test_what_ends_in_order_leaves_no_suspect(job: JobDir) -> None:
    with pytest.raises(KeyError), Attempt(job, 3) as attempt, attempt.in_hand(7):
        raise KeyError
    assert job.attempts(3) == []


def test_a_process_that_is_ended_leaves_the_image_that_it_had_in_hand(job: JobDir) -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from shared.job.directory import JobDir; from workers.embed.attempts import Attempt\n"
        "with Attempt(JobDir(Path(sys.argv[1])), 3) as attempt:\n"
        "    with attempt.in_hand(41): pass\n"
        "    with attempt.in_hand(42): os.abort()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, job.path], capture_output=True, check=False)
    assert done.returncode < 0
    assert in_hand(job) == {42}
    with Attempt(job, 3) as attempt:
        assert [image for image in range(50) if attempt.suspects(image)] == [42]
    assert in_hand(job) == {42}, "the evidence stays until the partition is sealed"


def test_the_suspects_of_earlier_attempts_are_those_in_hand_and_other_words_are_none(job: JobDir) -> None:
    left_behind(job, "12", "", "\x00\xff", "-1", "1e3")
    left_behind(job, "", "13")
    attempt = Attempt(job, 3)
    assert [image for image in range(2_000) if attempt.suspects(image)] == [12, 13]
    assert not any(map(Attempt(job, 4).suspects, range(2_000)))


def test_after_three_ended_attempts_every_image_is_suspected(job: JobDir) -> None:
    for _ in range(3):
        assert not Attempt(job, 3).suspects(99)
        left_behind(job, "12")
    assert Attempt(job, 3).suspects(99)


def test_an_attempt_at_a_partition_that_was_sealed_meanwhile_ends_quietly(job: JobDir) -> None:
    with Attempt(job, 3) as attempt:
        os.unlink(job.attempts(3)[0])
        with attempt.in_hand(1):
            pass
        job.chunk_dir(3).rmdir()
    assert not job.chunk_dir(3).exists()
