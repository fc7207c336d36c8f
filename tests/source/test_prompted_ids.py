"""Ids and versions of rows that have a prompt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchseg.source.names import mask_path
from batchseg.source.prompts import LONGEST_SLUG, image_name, is_prompted_id, prompted_id, slug
from batchseg.storage.versions import image_version, prompted_version


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("The red car!", "the-red-car"),
        ("  two\ttabs\nand lines ", "two-tabs-and-lines"),
        ("it's 3.5 m_wide/high", "it-s-3-5-m-wide-high"),
        ("Grüße, Ä", "grüße-ä"),
        ("Gru\u0308n", "grün"),  # taken apart, as some systems write it
        ("赤い車", "赤い車"),
        ("../../etc", "etc"),
        ("?!", ""),
        ("a" * 99, "a" * 60),
        (f"{'a' * 59} b", "a" * 59),
    ],
)
def test_slugs(prompt: str, expected: str) -> None:
    assert slug(prompt) == expected


@given(st.text(max_size=90), st.sampled_from(["a.jpg", "b/c.png", "s3://bucket/d.tif"]))
def test_ids_are_names_of_files_and_lead_back_to_the_image(prompt: str, name: str) -> None:
    row_id = prompted_id(name, prompt, 7)
    end = row_id.removeprefix(f"{name}/")
    assert 1 <= len(end) <= LONGEST_SLUG and "/" not in end and mask_path(row_id, "stem") is not None
    if slug(prompt):
        assert is_prompted_id(row_id, prompt) and image_name(row_id, prompt) == name
    else:
        assert end == "_row-7"


def test_rows_without_prompts_stay_as_they_are() -> None:
    assert image_name("a/b.jpg", None) == "a/b.jpg" and not is_prompted_id("a/b.jpg", None)
    assert prompted_version("7-7", None) == image_version("7-7", None) == "7-7"


@given(st.text(min_size=1), st.text(min_size=1))
def test_versions_tell_prompts_apart(first: str, second: str) -> None:
    versions = [prompted_version("7-7", prompt) for prompt in (first, second)]
    assert (versions[0] == versions[1]) == (first == second)
    assert image_version(versions[0], first) == "7-7"
    assert prompted_version(None, first) is None
