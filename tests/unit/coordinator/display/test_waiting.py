"""What a command waits for is said where no terminal shows it."""

import threading

from coordinator.display.waiting import SECONDS, Lasting, Waiting


def test_what_is_waited_for_is_said_once_after_a_while() -> None:
    said: list[str] = []
    heard = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        heard.set()

    with Waiting("Starting a query worker …", say, seconds=0.01) as waiting:
        assert heard.wait(60)
        waiting.update("Waiting for the answers …")
    assert said == ["Starting a query worker …"]


def test_the_text_of_now_is_said_and_not_the_first_one() -> None:
    said: list[str] = []
    with Waiting("Starting …", said.append, seconds=3600) as waiting:
        waiting.update("Waiting …")
        waiting._due()
    assert said == ["Waiting …"]


def test_what_ended_before_says_nothing() -> None:
    said: list[str] = []
    with Waiting("Starting …", said.append, seconds=3600) as waiting:
        pass
    waiting._due()
    assert said == []
    assert SECONDS < 3


def test_what_lasts_is_said_again_and_again() -> None:
    said: list[str] = []
    heard = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 3:
            heard.set()

    with Lasting("Exporting …", say, seconds=0.01, again=0.01) as lasting:
        assert heard.wait(60)
    assert set(said) == {"Exporting …"}
    count = len(said)
    lasting._due()
    assert len(said) == count
