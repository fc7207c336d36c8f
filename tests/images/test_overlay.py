"""What is drawn over an image, pixel by pixel, against values worked out here."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from batchseg.images.legend import class_entry, lay_out, legible
from batchseg.images.overlay import Drawing, blend, borders, draw_contours, nearest, resized, size_within
from batchseg.images.picture import Subject, draw_picture

COLOURS = ((0, 0, 0), (230, 159, 0), (0, 114, 178), (90, 90, 90))
VOID = 4
DRAWING = Drawing(("background", "cat", "dog", "rock"), COLOURS, frozenset([0]))
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)
LABELS = np.zeros((60, 80), np.uint8)
LABELS[10:40, 10:40] = 1
LABELS[10:40, 40:70] = 2
LABELS[50:55, 50:55] = VOID
INSIDE = np.s_[14:36, 14:36]  # of the cat, away from its contour


def drawn(kind="blend", opacity=0.5, **subject):
    return draw_picture(
        Subject(**{"image_HWC": IMAGE, "labels_HW": LABELS, **subject}), DRAWING, kind, opacity
    )


@pytest.mark.parametrize("opacity", [0.0, 0.3, 0.5, 1.0])
def test_blending_is_the_weighted_mean_and_leaves_void_and_background_alone(opacity):
    labels = RNG.integers(0, VOID + 1, (60, 80)).astype(np.uint8)
    before = IMAGE.copy()

    picture = blend(IMAGE, labels, DRAWING, opacity)

    colours = np.array([*COLOURS, (0, 0, 0)], float)[labels]
    untouched = (labels == 0) | (labels == VOID)
    mixed = (1 - opacity) * IMAGE + opacity * colours
    assert picture.dtype == np.uint8
    assert np.abs(picture - mixed)[~untouched].max() <= 1
    np.testing.assert_array_equal(picture[untouched], IMAGE[untouched])
    np.testing.assert_array_equal(IMAGE, before)


def test_sizes_that_differ_are_refused():
    with pytest.raises(ValueError, match="the label map"):
        blend(IMAGE, LABELS[:50], DRAWING, 0.5)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_borders_are_the_pixels_with_another_label_near_by(width):
    labels = RNG.integers(0, 3, (9, 11)).repeat(3, 0).repeat(3, 1)
    height, rows = len(labels), range(len(labels))
    expected = np.zeros(labels.shape, bool)
    for y in rows:
        for x in range(labels.shape[1]):
            near = [
                labels[max(0, y - width) : y + width + 1, x],
                labels[y, max(0, x - width) : x + width + 1],
            ]
            expected[y, x] = any((some != labels[y, x]).any() for some in near)

    assert height == 27
    np.testing.assert_array_equal(borders(labels, width), expected)


def test_a_contour_is_a_rim_on_the_border_and_the_colour_within_it():
    picture = IMAGE.copy()

    draw_contours(picture, LABELS, DRAWING)

    across = picture[25, 8:42]  # from the background into the cat, and on into the dog
    orange, blue = COLOURS[1:3]
    assert across[2:5].tolist() == [[0, 0, 0], [*orange], [*orange]]  # orange is bright: black stands out
    assert across[30:34].tolist() == [[*orange], [0, 0, 0], [255, 255, 255], [*blue]]
    np.testing.assert_array_equal(picture[LABELS == 0], IMAGE[LABELS == 0])
    np.testing.assert_array_equal(picture[INSIDE], IMAGE[INSIDE])


def test_what_is_too_thin_for_a_rim_is_still_drawn_in_its_colour():
    labels = np.zeros((60, 80), np.uint8)
    labels[30, 5:75] = 1
    picture = IMAGE.copy()

    draw_contours(picture, labels, DRAWING)

    assert (picture[30, 5:75] == COLOURS[1]).all()


@pytest.mark.parametrize("kind", ["blend", "contour"])
def test_the_picture_lies_above_its_legend_and_is_not_covered(kind):
    picture = drawn(kind)

    assert picture.shape[0] > 60
    assert picture.shape[1] >= 80
    background = LABELS == 0
    np.testing.assert_array_equal(picture[:60, :80][background], IMAGE[background])
    inside = picture[:60, :80][INSIDE]
    expected = IMAGE[INSIDE] if kind == "contour" else (IMAGE[INSIDE] + np.array(COLOURS[1], float)) / 2
    assert np.abs(inside - expected).max() <= 1


def test_void_is_hatched_and_the_legend_says_so():
    picture = drawn()[:60, :80]

    patch, before = picture[50:55, 50:55], IMAGE[50:55, 50:55]
    changed = (patch != before).any(axis=-1)
    assert 0 < changed.sum() < 25
    assert {tuple(colour) for colour in patch[changed].tolist()} == {(200, 200, 200), (70, 70, 70)}
    without = np.where(LABELS == VOID, 0, LABELS).astype(np.uint8)
    assert drawn(labels_HW=without).shape[0] < drawn().shape[0]


def test_the_legend_has_the_colours_of_the_classes_that_are_there_and_no_others():
    legend = drawn()[60:].reshape(-1, 3).tolist()

    assert [list(COLOURS[1]) in legend, list(COLOURS[2]) in legend] == [True, True]
    assert list(COLOURS[3]) not in legend
    assert list(COLOURS[3]) in drawn(labels_HW=np.full((60, 80), 3, np.uint8))[60:].reshape(-1, 3).tolist()


def text_of(name, size):
    mask = ImageFont.load_default(size).getmask(name)
    return np.array(mask, dtype=np.uint8).reshape(mask.size[::-1])


@pytest.mark.parametrize("name", ["cat", "traffic light"])
def test_the_legend_has_the_names(name):
    drawing = Drawing((name,), (COLOURS[1],), frozenset())

    picture = lay_out([("", np.zeros((40, 300, 3), np.uint8))], [class_entry(drawing, 0)], [])

    ink = 255 - picture[40:, :, 0].astype(int)
    letters = text_of(name, 12)  # the font's size in pictures this small
    best = min(
        np.abs(ink[y : y + letters.shape[0], x : x + letters.shape[1]] - letters * (223 / 255)).max()
        for y in range(ink.shape[0] - letters.shape[0] + 1)
        for x in range(16, 40)
        if x + letters.shape[1] <= ink.shape[1]
    )
    assert best <= 2


def test_a_legend_wraps_at_the_width_of_the_picture():
    drawing = Drawing(
        tuple(f"class {n}" for n in range(40)), tuple((n, n, n) for n in range(40)), frozenset()
    )
    entries = [class_entry(drawing, index) for index in range(40)]

    narrow, wide = (lay_out([("", np.zeros((40, w, 3), np.uint8))], entries, []) for w in (200, 900))

    assert (narrow.shape[1], wide.shape[1]) == (200, 900)
    assert narrow.shape[0] > wide.shape[0] > 40


@pytest.mark.parametrize("name", ["x" * 500, "many words " * 60, "\u6c7d\u8f66 " * 50, "a\nb\tc\0", " "])
def test_any_name_can_be_drawn_within_the_width(name):
    drawing = Drawing((name,), (COLOURS[1],), frozenset())

    picture = lay_out([("", np.zeros((40, 60, 3), np.uint8))], [class_entry(drawing, 0)], [name])

    assert picture.shape[1] == 160
    assert (picture[40:, -1] == 255).all()  # nothing runs over the edge


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("traffic light", "traffic light"),
        ("Stra\u00dfe", "Strasse"),
        ("caf\u00e9 \u0141\u00f3d\u017a", "cafe Lodz"),
        ("\u6c7d\u8f66", "?? (class 7)"),
        ("what?", "what?"),
    ],
)
def test_names_are_spelt_in_the_letters_of_the_font(name, shown):
    assert legible(name, 7) == shown


def test_a_triptych_shows_image_truth_and_prediction_and_marks_what_differs():
    truth = LABELS.copy()
    truth[10:40, 60:70] = 1  # where the prediction says dog
    truth[:, :5] = VOID
    truth[50:55, 50:55] = 0

    picture = drawn("triptych", truth_HW=truth)

    width = 80
    (top,) = {y for y in range(40) if np.array_equal(picture[y : y + 60, :width], IMAGE)}
    gap = (picture.shape[1] - 3 * width) // 2
    panels = [picture[top : top + 60, x : x + width] for x in (0, width + gap, 2 * (width + gap))]
    agree = np.s_[14:36, 14:36]
    np.testing.assert_array_equal(panels[1][agree], panels[2][agree])
    marked = panels[2][10:40, 60:70].reshape(-1, 3).tolist()
    assert [0, 0, 0] in marked
    assert [255, 255, 255] in marked
    ignored = panels[1][:, :5].reshape(-1, 3).tolist()
    assert [200, 200, 200] in ignored
    np.testing.assert_array_equal(panels[2][:, :5], IMAGE[:, :5])  # what is ignored cannot differ


def test_a_triptych_without_truth_has_two_panels():
    assert drawn("triptych").shape[1] < 3 * 80


def test_a_mask_whose_image_is_gone_is_shown_alone_with_a_sentence():
    picture = drawn(image_HWC=None, notes=["The image cannot be shown."])

    assert (picture[:60, :80][INSIDE] == COLOURS[1]).all()
    assert (picture[:60, :80][LABELS == 0] == 112).all()
    assert picture.shape[0] > drawn().shape[0]


def test_more_classes_than_a_byte_holds():
    names = tuple(f"class {index}" for index in range(300))
    drawing = Drawing(names, tuple((index % 256, index // 256, 9) for index in range(300)), frozenset())
    labels = np.full((60, 80), 299, np.uint16)

    picture = draw_picture(Subject(IMAGE, labels), drawing, "blend", 1.0)

    assert (picture[:60, :80] == (299 % 256, 1, 9)).all()


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((30, 40), 1024, (30, 40)),
        ((3000, 4000), 1024, (768, 1024)),
        ((4000, 10), 16, (16, 1)),
        ((1, 1), 16, (1, 1)),
    ],
)
def test_pictures_are_scaled_down_and_never_up(size, longest, expected):
    assert size_within(size, longest) == expected


def test_labels_are_scaled_by_the_nearest_and_images_by_the_mean():
    ids = np.arange(36, dtype=np.uint16).reshape(6, 6) * 9

    np.testing.assert_array_equal(nearest(ids, (2, 2)), ids[1::3, 1::3])
    assert nearest(ids, (2, 2)).dtype == np.uint16
    means = IMAGE.reshape(30, 2, 40, 2, 3).mean(axis=(1, 3))
    assert np.abs(resized(IMAGE, (30, 40)) - means).max() <= 1
