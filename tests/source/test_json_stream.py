"""Elements of a JSON file one after the other are those of json.loads, however it is cut into pieces."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchseg.source.annotations import json_stream
from batchseg.source.annotations.json_stream import elements

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=3), below, max_size=4),
)


def expected(whole: Any) -> list[tuple[str | None, Any]]:
    if isinstance(whole, list):
        return [(None, value) for value in whole]
    return [
        (key, each)
        for key, value in whole.items()
        for each in (value if isinstance(value, list) else [value])
    ]


@given(
    st.lists(values, max_size=5) | st.dictionaries(st.text(max_size=4), values, max_size=5),
    st.integers(1, 9),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_elements_are_those_of_the_whole(whole: Any, piece: int, indent: int | None, escaped: bool) -> None:
    data = json.dumps(whole, indent=indent, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_PIECE", piece)
        assert [*elements(io.BytesIO(data))] == expected(whole)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "neither a list nor an object"),
        ("3", "neither a list nor an object"),
        ("[1, 2", "it ends too early"),
        ("[1 2]", "damaged at character 3"),
        ('{"a" 1}', "a colon is missing"),
        ("{1: 2}", "a key or a colon is missing"),
        ('{"a": [1, ]}', "Expecting value at character 10"),
        ('{"a": 1', "it ends too early"),
        ("[1] 2", "there is more behind its end, at character 4"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "9" * 5000 + "]", "limit"),
    ],
)
def test_what_is_damaged_is_said_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        list(elements(io.BytesIO(text.encode())))
