from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as cityscapes_labels
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights

from batchseg.errors import ConfigError, LabelMapError, RowFault
from batchseg.labels.label_file import load_label_map
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.schema import TruthStatus

BUILT_IN = {"ade20k": 150, "cityscapes": 19, "cityscapes-train-ids": 19, "coco-stuff": 171, "voc": 21}
INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]


def fault(label_map, raw):
    with pytest.raises(RowFault) as caught:
        label_map.encode(raw)
    return caught.value.status, str(caught.value)


@pytest.fixture
def yaml_file(tmp_path):
    def write(text):
        path = tmp_path / "labels.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


class TestBuiltIn:
    @pytest.mark.parametrize(("name", "classes"), BUILT_IN.items())
    def test_has_unique_names_and_colours_and_a_truth_id_for_each_class(self, name, classes):
        label_map = load_label_map(name)

        assert label_map.num_classes == label_map.void == classes
        assert len({*label_map.names}) == len({*label_map.colours}) == classes
        truth_ids = range(classes) if label_map.remap is None else label_map.remap.values()
        assert {*range(classes)} <= {*truth_ids} <= {*range(classes), 255}
        assert all(class_name == class_name.strip() for class_name in label_map.names)

    def test_cityscapes_is_that_of_its_own_scripts(self):
        label_map = load_label_map("cityscapes")
        train_ids = load_label_map("cityscapes-train-ids")

        for label in cityscapes_labels:
            evaluated = not label.ignoreInEval
            expected = label.trainId if evaluated else label_map.void
            assert label_map.encode(np.array([[label.id]])).item() == expected
            if evaluated:
                assert label_map.names[label.trainId] == train_ids.names[label.trainId] == label.name
                assert label_map.colours[label.trainId] == train_ids.colours[label.trainId] == label.color
        assert train_ids.encode(np.array([[0, 18, 255]])).tolist() == [[0, 18, 19]]

    def test_voc_is_that_of_torchvision_in_the_colours_of_the_development_kit(self):
        label_map = load_label_map("voc")

        categories = DeepLabV3_ResNet50_Weights.DEFAULT.meta["categories"]
        assert list(label_map.names) == ["background", *categories[1:]]
        colours = dict(zip(label_map.names, label_map.colours, strict=True))
        assert colours["background"] == (0, 0, 0)
        assert colours["aeroplane"] == (128, 0, 0)
        assert colours["person"] == (192, 128, 128)
        assert colours["tvmonitor"] == (0, 64, 128)

    def test_the_things_of_coco_stuff_are_those_of_torchvision(self):
        label_map = load_label_map("coco-stuff")
        categories = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]

        for coco_id, name in enumerate(categories):
            if name not in ("__background__", "N/A"):
                assert label_map.names[label_map.encode(np.array([[coco_id - 1]])).item()] == name

    @pytest.mark.parametrize(
        ("truth_id", "name"),
        [(91, "banner"), (105, "clouds"), (123, "grass"), (148, "road"), (156, "sky-other"), (181, "wood")],
    )
    def test_the_stuff_of_coco_stuff_follows_the_182_ids(self, truth_id, name):
        label_map = load_label_map("coco-stuff")

        assert label_map.names[label_map.encode(np.array([[truth_id]])).item()] == name

    @pytest.mark.parametrize(
        ("truth_id", "name"),
        [(1, "wall"), (7, "road"), (13, "person"), (49, "skyscraper"), (81, "bus"), (150, "flag")],
    )
    def test_ade20k_follows_the_ids_of_sceneparse150(self, truth_id, name):
        label_map = load_label_map("ade20k")

        assert label_map.names[label_map.encode(np.array([[truth_id]])).item()] == name

    def test_ade20k_ignores_zero(self):
        label_map = load_label_map("ade20k")

        assert label_map.encode(np.array([[0, 1, 255]], np.uint8)).tolist() == [[150, 0, 150]]


class TestEncodeIds:
    @pytest.mark.parametrize("dtype", INTEGERS)
    def test_takes_any_integer_type(self, dtype):
        raw = np.array([[0, 1], [2, 127]], dtype)

        encoded = LabelMap(("a", "b", "c"), ignore_index=127).encode(raw)

        assert encoded.dtype == np.uint8
        assert encoded.tolist() == [[0, 1], [2, 3]]

    @settings(deadline=None)
    @given(
        remap=st.dictionaries(st.integers(-(2**15), 2**24 - 1), st.sampled_from([0, 1, 2, 255]), max_size=20),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_remaps_as_a_dictionary_would(self, remap, seed):
        label_map = LabelMap(("a", "b", "c"), remap=remap)
        meaning = {255: 255, **remap}
        raw = np.random.default_rng(seed).choice([*meaning], (5, 7))

        encoded = label_map.encode(raw)

        expected = [[{255: 3}.get(meaning[truth], meaning[truth]) for truth in row] for row in raw.tolist()]
        assert encoded.tolist() == expected

    def test_a_foreground_of_255_is_a_class_when_the_label_map_says_so(self, yaml_file):
        path = yaml_file("classes:\n  - {name: background}\n  - {name: lesion, truth_ids: [255]}\n")

        encoded = load_label_map(path).encode(np.array([[0, 255]], np.uint8))

        assert encoded.tolist() == [[0, 1]]

    def test_a_foreground_of_255_is_otherwise_ignored(self):
        encoded = LabelMap.from_names(["background", "lesion"]).encode(np.array([[0, 255]], np.uint8))

        assert encoded.tolist() == [[0, 2]]

    @pytest.mark.parametrize(
        ("classes", "dtype"), [(254, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)]
    )
    def test_the_result_is_the_smallest_type_that_holds_void(self, classes, dtype):
        label_map = LabelMap.from_names([str(number) for number in range(classes)])

        encoded = label_map.encode(np.array([[0, classes - 1, label_map.ignore_index]]))

        assert encoded.dtype == label_map.dtype == dtype
        assert encoded.tolist() == [[0, classes - 1, classes]]

    def test_takes_bilevel_images_and_views(self):
        label_map = LabelMap.from_names(["a", "b"])

        assert label_map.encode(np.array([[False, True]])).tolist() == [[0, 1]]
        assert label_map.encode(np.arange(8, dtype=np.uint8).reshape(2, 4)[::2, 1::-1]).tolist() == [[1, 0]]

    def test_names_unknown_ids_with_their_pixels(self):
        label_map = LabelMap.from_names([str(number) for number in range(19)])

        assert fault(label_map, np.array([[0, 34, 34, 35]], np.uint8)) == (
            TruthStatus.OUT_OF_RANGE,
            "ids 34 (2 pixels), 35 (1 pixel) of the ground truth are not in the label map "
            "(0 to 18; ignored: 255)",
        )

    def test_counts_unknown_ids_beyond_five(self):
        label_map = LabelMap(("a",), remap={7: 0, 9: 255})

        status, sentence = fault(label_map, np.array([[-1, 0, 1, 2, 3, 4, 7, 9, 2**40]]))

        assert status is TruthStatus.OUT_OF_RANGE
        assert sentence == (
            "ids -1 (1 pixel), 0 (1 pixel), 1 (1 pixel), 2 (1 pixel), 3 (1 pixel) and 2 more of the "
            "ground truth are not in the label map (7; ignored: 9, 255)"
        )

    def test_names_one_unknown_id(self):
        _, sentence = fault(LabelMap(("a", "b")), np.array([[-1, 0]], np.int16))

        assert sentence == (
            "id -1 (1 pixel) of the ground truth is not in the label map (0 to 1; ignored: 255)"
        )

    @pytest.mark.parametrize(
        "raw", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3), np.uint16)]
    )
    def test_refuses_what_is_neither_ids_nor_colours(self, raw):
        status, sentence = fault(LabelMap(("a",)), raw)

        assert status is TruthStatus.UNREADABLE
        assert str(raw.dtype) in sentence


class TestEncodeColours:
    @pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "coco-stuff"])
    def test_finds_every_class_by_its_colour(self, name):
        label_map = load_label_map(name)
        ids = np.random.default_rng(0).integers(0, label_map.num_classes, (40, 30))

        encoded = label_map.encode(np.array(label_map.colours, np.uint8)[ids])

        np.testing.assert_array_equal(encoded, ids)
        assert encoded.dtype == label_map.dtype

    def test_names_unknown_colours(self):
        label_map = LabelMap(("a", "b"), ((255, 0, 0), (0, 255, 0)))

        assert fault(label_map, np.array([[(255, 0, 0), (1, 2, 16), (1, 2, 16)]], np.uint8)) == (
            TruthStatus.OUT_OF_RANGE,
            "colour #010210 (2 pixels) of the ground truth is not in the label map (2 colours; "
            "ignored_colours lists those that count nowhere)",
        )

    def test_the_default_palette_is_read_in_no_truth(self):
        label_map = LabelMap(("a", "b"))

        status, sentence = fault(label_map, np.array([[label_map.colours[1]]], np.uint8))

        assert status is TruthStatus.UNREADABLE and "names no colours" in sentence
        assert label_map.of_masks.read_colours == {}


class TestYaml:
    def test_reads_names_colours_and_truth_ids(self, yaml_file):
        path = yaml_file("""
ignore_index: 99
ignored_truth_ids: [0]
classes:
  - {name: street, truth_ids: [7, 8]}
  - {name: façade, colour: "#0A0bff"}
  - {name: sky, colour: [1, 2, 3], truth_ids: [4]}
""")

        label_map = load_label_map(path)

        assert label_map.names == ("street", "façade", "sky")
        assert label_map.colours[1:] == ((10, 11, 255), (1, 2, 3))
        assert label_map.encode(np.array([[0, 7, 8, 1, 4, 99]])).tolist() == [[3, 0, 0, 1, 2, 3]]

    def test_a_list_of_names_is_enough(self, yaml_file):
        assert load_label_map(yaml_file("classes: [a, b]")) == LabelMap.from_names(["a", "b"])

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "the file: must be a mapping with the key `classes`"),
            ("[a, b]", "the file: must be a mapping with the key `classes`"),
            ("classes: []", "classes: "),
            ("classes: [a]\nignore: 3", "ignore: unknown key"),
            ("classes: [a, {name: b, color: [1, 2, 3]}]", "classes.1.color: "),
            ("classes: [a, no]", "classes.1: must be a name, in quotes"),
            ("classes: [{name: a, colour: red}]", r"classes.0.colour.0: must be \[r, g, b\] or '#rrggbb'"),
            ("classes: [{name: a, colour: [1, 2]}]", "classes.0.colour.0: "),
            ("classes: [{name: a, colour: [1, 2, 256]}]", "classes.0.colour.0.2: "),
            ("classes: [{name: a, truth_ids: ['1']}]", "classes.0.truth_ids.0: "),
            ("classes: [a, a]", "class name 'a' is given twice"),
            ("classes: [a, {name: b, truth_ids: [0]}]", "truth id 0 is given twice"),
            ("classes: [a, b]\nignored_truth_ids: [1]", "truth id 1 is given twice"),
            ("classes: [a, b]\nignore_index: 1", "ignore_index is 1, which is a class"),
            ("classes: [{name: a, truth_ids: [99999999]}]", "truth id 99999999 is not in"),
            ("classes: [a", "cannot read"),
        ],
    )
    def test_names_the_file_and_the_problem(self, yaml_file, text, problem):
        path = yaml_file(text)

        with pytest.raises(LabelMapError, match=problem) as caught:
            load_label_map(path)
        assert path in str(caught.value)

    def test_an_unknown_name_lists_the_known_ones(self):
        known = "ade20k, cityscapes, cityscapes-train-ids, coco-stuff, voc"

        with pytest.raises(ConfigError, match=f"no label map 'ade': no such file, .* {known}"):
            load_label_map("ade")

    def test_a_folder_is_no_label_map(self, tmp_path):
        with pytest.raises(LabelMapError, match="cannot read the label map"):
            load_label_map(str(tmp_path))


class TestLabelMap:
    def test_colours_default_to_distinct_ones(self):
        label_map = LabelMap.from_names([str(number) for number in range(1000)])

        assert len({*label_map.colours}) == 1000
        assert (0, 0, 0) not in label_map.colours
        assert label_map.colours[:9] == LabelMap.from_names([*"abcdefghi"]).colours

    def test_void_gets_a_pixel_value_that_is_no_class(self):
        assert LabelMap.from_names([str(number) for number in range(255)]).ignore_index == 255
        assert LabelMap.from_names([str(number) for number in range(256)]).ignore_index == 65535

    @pytest.mark.parametrize(
        ("parts", "problem"),
        [
            ({"names": ()}, "1 to 65535 classes, not 0"),
            ({"names": tuple(map(str, range(65536)))}, "1 to 65535 classes, not 65536"),
            ({"names": ("a", "b"), "colours": ((0, 0, 0),)}, "2 classes need as many colours, not 1"),
            ({"names": ("a",), "colours": ((0, 0, 256),)}, "0 to 255"),
            ({"names": ("a", "b"), "colours": ((1, 2, 3), (1, 2, 3))}, "given to two classes"),
            ({"names": ("a",), "ignore_index": 0}, "which is a class"),
            ({"names": ("a",), "ignore_index": -100}, "no pixel value; choose one from 1 to 65535"),
            ({"names": ("a",), "remap": {3: 1}}, "truth id 3 is mapped to 1"),
        ],
    )
    def test_contradictions_are_refused(self, parts, problem):
        with pytest.raises(LabelMapError, match=problem):
            LabelMap(**parts)

    def test_crosses_processes_and_keeps_its_fingerprints(self):
        label_map = load_label_map("ade20k")

        copy = pickle.loads(pickle.dumps(label_map))

        assert copy == label_map
        for name in ("mask_fingerprint", "drawn_fingerprint", "single_fingerprint"):
            assert getattr(copy, name) == getattr(load_label_map("ade20k"), name)
        assert Reading(copy).fingerprint == Reading(load_label_map("ade20k")).fingerprint

    def test_one_fingerprint_tells_every_part_and_no_order_of_truth_ids(self):
        variants = [
            LabelMap(("a", "b")),
            LabelMap(("b", "a")),
            LabelMap(("a", "b"), ((0, 0, 0), (1, 1, 1))),
            LabelMap(("a", "b"), ignore_index=254),
            LabelMap(("a", "b"), remap={0: 0, 5: 1}),
        ]

        assert len({variant.single_fingerprint for variant in variants}) == len(variants)
        assert LabelMap(("a", "b"), remap={5: 1, 0: 0}).single_fingerprint == variants[-1].single_fingerprint

    @pytest.mark.parametrize(
        ("other", "masks", "truths"),
        [
            (LabelMap(("b", "a")), False, False),  # names are in no mask and in no truth
            (LabelMap(("a", "b", "c")), True, True),
            (LabelMap(("a", "b"), ((0, 0, 0), (1, 1, 1))), False, False),  # drawn otherwise, read as ids
            (LabelMap(("a", "b"), ignore_index=254), True, True),
            (LabelMap(("a", "b"), remap={0: 0, 5: 1}), False, True),
            (LabelMap(("a", "b"), remap={0: 0, 1: 1}), False, True),
        ],
    )
    def test_what_changes_masks_and_what_changes_how_truths_are_read(self, other, masks, truths):
        own = LabelMap(("a", "b"))
        assert (other.mask_fingerprint != own.mask_fingerprint) == masks
        assert (Reading(other).fingerprint != Reading(own).fingerprint) == truths
        assert other.of_masks.mask_fingerprint == other.mask_fingerprint

    def test_the_order_of_truth_ids_is_no_matter(self):
        one, other = (LabelMap(("a", "b"), remap=remap) for remap in ({0: 0, 5: 1}, {5: 1, 0: 0}))
        assert Reading(one).fingerprint == Reading(other).fingerprint

    def test_loading_one_needs_neither_torch_nor_arrow(self):
        program = (
            "import sys; from batchseg.labels.label_file import load_label_map; load_label_map('voc'); "
            "print([name for name in ('torch', 'pyarrow', 'ray', 'transformers') if name in sys.modules])"
        )

        loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

        assert loaded.stdout.strip() == "[]"


def test_a_threshold_needs_the_colour_of_every_index():
    reading = Reading(LabelMap.from_names(("background", "cell")), threshold=128)
    palette = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
    assert reading.encode(np.array([[0, 1]], np.uint8), palette).tolist() == [[0, 1]]
    with pytest.raises(RowFault, match="its palette has no colour for index 200"):
        reading.encode(np.array([[0, 200]], np.uint8), palette)
