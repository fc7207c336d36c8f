"""The default colours: far apart for the eye, by a distance of another space than made them."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from batchseg.labels.colours import distinct_colours
from batchseg.labels.label_file import load_label_map
from batchseg.labels.label_map import LabelMap

BLACK, VOID = (0, 0, 0), (224, 224, 192)
OKABE_ITO = ["e69f00", "56b4e9", "009e73", "f0e442", "0072b2", "d55e00", "cc79a7"]
# what Machado, Oliveira and Fernandes (2009) give for a complete loss of one kind of cone, in linear RGB
DICHROMATS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
}
# sRGB under D65 to CIE XYZ (IEC 61966-2-1)
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]


def names(count):
    return [f"class {number}" for number in range(count)]


def linear(colours):
    values = np.array(colours) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def cielab(rgb):
    """CIE 1976 L*a*b* of linear sRGB under D65."""
    ratios = rgb @ np.array(XYZ).T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(ratios > (6 / 29) ** 3, np.cbrt(ratios), ratios / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def smallest_distance(lab):
    distances = np.linalg.norm(lab[:, np.newaxis] - lab, axis=-1)
    return distances[~np.eye(len(lab), dtype=bool)].min()


# 2.3 is just noticeable; black and VOC's own next 10, 20, 64 and 256 have 12.2, 8.8, 5.1 and 1.3
@pytest.mark.parametrize(("count", "least"), [(12, 26), (20, 23), (40, 14), (64, 14), (128, 9), (256, 6)])
def test_the_first_colours_are_well_apart_and_so_are_black_and_void(count, least):
    colours = [BLACK, VOID, *LabelMap.from_names(names(count)).colours]

    assert smallest_distance(cielab(linear(colours))) >= least


@pytest.mark.parametrize("matrix", DICHROMATS.values(), ids=DICHROMATS)
def test_the_first_twelve_are_told_apart_without_one_kind_of_cone(matrix):
    seen = np.clip(linear(LabelMap.from_names(names(12)).colours) @ np.array(matrix).T, 0, 1)

    assert smallest_distance(cielab(seen)) >= 17


def test_the_first_seven_are_those_of_okabe_and_ito():
    assert [bytes(colour).hex() for colour in LabelMap.from_names(names(7)).colours] == OKABE_ITO


@pytest.mark.parametrize("count", [1, 256, 257, 65535])
def test_no_two_are_alike_and_none_is_black_or_void(count):
    colours = LabelMap.from_names(names(count)).colours

    assert len({BLACK, VOID, *colours}) == count + 2
    assert np.array(colours).min() >= 0
    assert np.array(colours).max() <= 255


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_background_is_black_wherever_it_stands_and_moves_no_other_colour(at):
    others = names(3)

    colours = LabelMap.from_names([*others[:at], "Background", *others[at:]]).colours

    assert colours[at] == BLACK
    assert colours[:at] + colours[at + 1 :] == LabelMap.from_names(others).colours


def test_a_second_background_is_not_black_too():
    first, second = LabelMap.from_names(["background", "unlabeled"]).colours

    assert (first, second) == (BLACK, tuple(bytes.fromhex(OKABE_ITO[0])))


def test_a_class_without_a_colour_never_gets_one_that_a_file_gives_to_another(tmp_path):
    file = tmp_path / "labels.yaml"
    file.write_text('classes: [background, a, {name: b, colour: "#e69f00"}, {name: c, colour: "#000000"}]')

    label_map = load_label_map(str(file))

    assert len(set(label_map.colours)) == 4
    assert label_map.colours[2:] == ((0xE6, 0x9F, 0), BLACK)


def test_taken_colours_are_left_out_beyond_the_table_as_well():
    plain = list(islice(distinct_colours(), 300))

    assert (
        list(islice(distinct_colours([plain[3], plain[280]]), 298)) == plain[:3] + plain[4:280] + plain[281:]
    )


def test_voc_has_the_colours_of_its_development_kit():
    """Bits 0, 3, 6 of a class's number are the high bits of red, and so on: VOCcolormap.m."""
    expected = []
    for number in range(21):
        colour = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                colour[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
        expected.append(tuple(colour))

    assert list(load_label_map("voc").colours) == expected
