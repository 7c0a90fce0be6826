"""What is kept open: one thing at a time, as long as it is asked for."""

import threading

import pytest

from workers.duplicates.kept_open import KeptOpen


def test_it_is_opened_once_for_a_key_and_again_for_another() -> None:
    opened: list[str] = []
    kept = KeptOpen[str]()

    def of(key: str) -> str:
        def open_() -> str:
            opened.append(key)
            return f"open {key}"

        return kept.of(key, open_)

    assert [of("a"), of("a"), of("b"), of("a")] == ["open a", "open a", "open b", "open a"]
    assert opened == ["a", "b", "a"]
    kept.release()
    of("a")
    assert len(opened) == 4


def test_what_can_not_be_opened_is_tried_again() -> None:
    kept = KeptOpen[str]()
    with pytest.raises(ZeroDivisionError):
        kept.of("a", lambda: str(1 // 0))
    assert kept.of("a", lambda: "there") == "there"


def test_what_no_task_asks_for_is_let_go() -> None:
    kept, gone = KeptOpen[object](idle_seconds=0.01), threading.Event()

    class Large:
        def __del__(self) -> None:
            gone.set()

    kept.of("a", Large)
    kept.rest()
    assert gone.wait(60)


def test_the_next_task_keeps_it() -> None:
    kept = KeptOpen[object](idle_seconds=3_600)
    first = kept.of("a", object)
    kept.rest()
    assert kept.of("a", object) is first
    kept.release()
