"""The turns of a life come from its seed, and no kind of turn is left out."""

from collections import Counter

from benchmarks.life.plan import KINDS, draw


def test_the_same_seed_draws_the_same_turns_and_each_kind_as_often() -> None:
    turns = draw(1, 4 * len(KINDS))
    assert turns == draw(1, 4 * len(KINDS))
    assert turns != draw(2, 4 * len(KINDS))
    assert Counter(turn.kind for turn in turns) == dict.fromkeys(KINDS, 4)
    assert [turn.number for turn in turns] == list(range(1, len(turns) + 1))
    assert {len(turn.kills) for turn in turns} == {1, 2}
    assert {kill.whole_machine for turn in turns for kill in turn.kills} == {True, False}
