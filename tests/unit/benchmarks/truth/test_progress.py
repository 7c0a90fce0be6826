import pytest

from benchmarks.truth.progress import shown


def test_all_pass_in_their_order_and_it_is_said_how_many_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(shown([3, 1, 2], "numbers", str)) == [3, 1, 2]
    assert list(shown(iter("ab"), "letters", str, 2)) == ["a", "b"]
    said = capsys.readouterr().err
    assert "numbers: 3 to do" in said
    assert "letters: 2 to do" in said
