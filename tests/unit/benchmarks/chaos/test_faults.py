"""The stories of the chaos harness come from the seed alone, and use the whole table of faults."""

from benchmarks.chaos.faults import FAULTS, draw


def test_a_round_is_a_function_of_its_seed_and_its_number() -> None:
    assert draw(1, 7) == draw(1, 7)
    stories = [draw(seed, number) for seed in range(5) for number in range(20)]
    assert len({tuple(story) for story in stories}) == len(stories)


def test_rounds_have_one_to_four_faults_in_their_order_and_use_the_whole_table() -> None:
    stories = [draw(3, number) for number in range(300)]
    assert {len(story) for story in stories} == {1, 2, 3, 4}
    assert all([fault.at for fault in story] == sorted(fault.at for fault in story) for story in stories)
    assert {fault.kind for story in stories for fault in story} == set(FAULTS)
    assert any(fault.at >= 1 for story in stories for fault in story)
