import numpy as np

from coordinator.jobs.source.keys import PathKeys, key_of, keys_of

PATHS = [f"photos/é{number}.jpg" for number in range(1_000)]


def test_a_path_has_one_key_and_other_paths_have_others() -> None:
    keys = keys_of(PATHS)
    assert keys.dtype == np.uint64
    assert keys.tolist() == [key_of(path) for path in PATHS]
    assert len(set(keys.tolist())) == len(PATHS)


def test_paths_are_found_among_those_whose_keys_are_kept() -> None:
    kept = PathKeys(keys_of([*PATHS[::2], PATHS[0]]))
    assert [path in kept for path in PATHS] == [True, False] * 500
    assert len(kept) == 500


def test_nothing_is_among_no_paths() -> None:
    assert PATHS[0] not in PathKeys(keys_of([]))
