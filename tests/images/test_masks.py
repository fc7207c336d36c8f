from __future__ import annotations

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from batchseg.images.encode import encode_png
from batchseg.labels.label_map import LabelMap


def names(count):
    return [f"class {number}" for number in range(count)]


def read(png):
    with Image.open(io.BytesIO(png)) as picture:
        picture.load()
        return picture


@st.composite
def label_maps_and_ids(draw, counts):
    label_map = LabelMap.from_names(names(draw(counts)))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))
    seed = draw(st.integers(0, 2**32 - 1))
    ids = np.random.default_rng(seed).integers(0, label_map.void + 1, shape).astype(label_map.dtype)
    return label_map, ids


@settings(deadline=None)
@given(label_maps_and_ids(st.integers(1, 255)))
def test_pixels_are_class_ids_and_the_palette_is_the_colours(drawn):
    label_map, labels = drawn

    picture = read(encode_png(labels, label_map.colours, label_map.ignore_index))

    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), np.where(labels == label_map.void, 255, labels))
    known = labels < label_map.void
    np.testing.assert_array_equal(
        np.asarray(picture.convert("RGB"))[known], np.array(label_map.colours)[labels[known]]
    )


@settings(deadline=None)
@given(label_maps_and_ids(st.sampled_from([256, 257, 1000])))
def test_more_classes_than_a_palette_holds_are_written_in_16_bits(drawn):
    label_map, labels = drawn

    picture = read(encode_png(labels, label_map.colours, label_map.ignore_index))

    assert picture.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(picture), np.where(labels == label_map.void, 65535, labels))


def test_a_wide_ignore_index_is_written_in_16_bits():
    label_map = LabelMap(("a", "b"), ignore_index=1000)

    picture = read(encode_png(np.array([[0, 1, 2]], np.uint8), label_map.colours, label_map.ignore_index))

    assert np.asarray(picture).tolist() == [[0, 1, 1000]]


@settings(deadline=None)
@given(label_maps_and_ids(st.sampled_from([1, 2, 16, 255, 256, 300])))
def test_a_mask_read_as_truth_gives_the_label_map_back(drawn):
    label_map, labels = drawn

    raw = np.asarray(read(encode_png(labels, label_map.colours, label_map.ignore_index)))

    np.testing.assert_array_equal(label_map.encode(raw), labels)


def test_a_label_map_is_left_as_it_was():
    labels = np.array([[0, 1, 2]], np.uint8)

    encode_png(labels, LabelMap.from_names(names(2)).colours, 255)

    assert labels.tolist() == [[0, 1, 2]]
