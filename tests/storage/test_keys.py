"""Sets of keys against Python's own sets."""

from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batchseg.storage.keys import KeySet, keys, repeated, superseded

names = st.lists(st.text("abc", max_size=2), max_size=8)
parts_of_names = st.lists(names, max_size=6)


def arrays(parts: list[list[str]]) -> list[np.ndarray]:
    return [keys(part) for part in parts]


@given(parts_of_names, names)
def test_a_key_set_holds_what_a_set_holds(parts: list[list[str]], wanted: list[str]) -> None:
    known = set(chain(*parts))
    assert len(KeySet(arrays(parts))) == len(known)
    assert KeySet(arrays(parts)).contains(keys(wanted)).tolist() == [name in known for name in wanted]


@given(parts_of_names)
def test_repeated_are_those_that_occur_more_than_once(parts: list[list[str]]) -> None:
    flat = list(chain(*parts))
    expected = {name for name in flat if flat.count(name) > 1}
    found = repeated(arrays(parts))
    assert len(found) == len(expected)
    assert found.contains(keys(flat)).tolist() == [name in expected for name in flat]


@given(parts_of_names)
def test_superseded_are_those_that_occur_again_later(parts: list[list[str]]) -> None:
    flat = list(chain(*parts))
    expected = [name in flat[index + 1 :] for index, name in enumerate(flat)]
    found = superseded(arrays(parts))
    assert [len(part) for part in found] == [len(part) for part in parts]
    assert list(chain(*(part.tolist() for part in found))) == expected


def test_keys_take_tuples_and_none() -> None:
    assert keys([("a", None, True), None, "a"]).dtype == np.int64
    same, other = keys([("a", None, True), ("a", None, False)])
    assert KeySet([keys([("a", None, True)])]).contains(np.array([same, other])).tolist() == [True, False]


def test_a_million_keys_are_all_found_and_no_other() -> None:
    known, others = keys(range(0, 2_000_000, 2)), keys(range(1, 2_000_000, 2))
    found = KeySet([known[:500_000], known[500_000:]])
    assert found.contains(known).all()
    assert not found.contains(others).any()
