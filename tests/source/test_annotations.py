"""Files of labelling tools as truths: every format from a writer of its own, pixel for pixel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import annotation_files as files
import numpy as np
import pytest
from image_files import save
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from batchseg.config.base import Limits
from batchseg.config.source import FolderSource
from batchseg.errors import RowFault, SourceError
from batchseg.images.label_files import decode_labels
from batchseg.inspect.preflight import check_source
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.source.annotations import archive, spool
from batchseg.source.annotations.spool import AnnotationFacts, annotation_facts
from batchseg.source.open import list_source, open_source
from batchseg.stages.score import as_truth
from batchseg.storage.location import locate
from batchseg.storage.reader import truth_reader

NAMES = ("background", "car", "road sign", "tree")
LABELS = LabelMap.from_names(NAMES)
SIZES = ((13, 21), (8, 5), (30, 17))
Ids = NDArray[np.uint8]


def map_of(seed: int, size: tuple[int, int]) -> Ids:
    """Patches of four classes, beginning with one that is annotated."""
    random = np.random.default_rng(seed)
    ids = np.zeros(size, np.uint8)
    for class_id in (1, 2, 3, 0, 1, 2):
        top, left = (random.integers(0, side) for side in size)
        ids[top : top + random.integers(1, 9), left : left + random.integers(1, 9)] = class_id
    ids[0, 0] = 3
    return ids


MAPS = {f"a/{index}.jpg": map_of(index, size) for index, size in enumerate(SIZES)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name, ids in MAPS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(save(ids, "JPEG"))
    return folder


def listed(
    photos: Path, truth: Path, **settings: Any
) -> tuple[dict[str, str | None], AnnotationFacts | None]:
    """The truth of each image, and what is known of all."""
    work = photos.parent / "work"
    work.mkdir(exist_ok=True)
    source = open_source(FolderSource(path=str(photos), truth=str(truth), **settings))
    listing = list_source(source, locate(str(work / "listing.arrow")), "full")
    check_source(source, listing)
    rows = [row for table in listing.tables() for row in table.to_pylist()]
    assert all((row["truth"] is None) == (row["truth_version"] is None) for row in rows)
    return {row["id"]: row["truth"] for row in rows}, annotation_facts(listing)


def facts_of(photos: Path, truth: Path, **settings: Any) -> AnnotationFacts:
    facts = listed(photos, truth, **settings)[1]
    assert facts is not None
    return facts


def read(uri: str | None, labels: LabelMap = LABELS) -> Any:
    assert uri is not None
    file = decode_labels(truth_reader().read(uri), Limits())
    return as_truth(file, Reading(labels, by_name=True)).ids_HW


def write(path: Path, content: Any) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def coco_of(areas: Mapping[str, Any], size: tuple[int, int], name: str = "a/0.jpg") -> dict[str, Any]:
    """One image with some segmentations, later ones on top, by the names of their classes."""
    return {
        "categories": [{"id": at, "name": each} for at, each in enumerate(NAMES)],
        "annotations": [
            {"id": at, "image_id": 5, "category_id": NAMES.index(each.strip("+")), "segmentation": area}
            for at, (each, area) in enumerate(areas.items())
        ],
        "images": [{"id": 5, "file_name": name, "height": size[0], "width": size[1]}],
    }


def fault(photos: Path, truth: Path, image_id: str = "a/0.jpg") -> str:
    with pytest.raises(RowFault) as caught:
        read(listed(photos, truth)[0][image_id])
    assert caught.value.status.value in ("unreadable", "out_of_range", "mismatch")
    return str(caught.value)


FORMATS = (
    "coco.json",
    "coco-lists.json",
    "panoptic.json",
    "panoptic.zip",
    "label-studio.json",
    "label-studio-min.json",
    "cvat-masks.zip",
    "cvat-indexed.zip",
    "cvat.xml",
    "cvat-images.zip",
    "coco.zip",
)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_has_the_pixels_that_were_annotated(photos: Path, tmp_path: Path, kind: str) -> None:
    truths, facts = listed(photos, files.write_all(tmp_path / "truth", MAPS, NAMES)[kind])
    assert facts is not None and facts.unmatched == 0
    for name, ids in MAPS.items():
        assert np.array_equal(read(truths[name]), ids), name


def test_what_nobody_annotated_is_void_without_a_background(photos: Path, tmp_path: Path) -> None:
    truths, _ = listed(photos, write(tmp_path / "t.json", files.coco(MAPS, NAMES)))
    labels = LabelMap.from_names(("TREE", "Road_Sign", "car"))
    expected = np.array([labels.void, 2, 1, 0])
    assert np.array_equal(read(truths["a/0.jpg"], labels), expected[MAPS["a/0.jpg"]])
    sentence = Reading(labels, by_name=True).sentence
    assert sentence.startswith("by the names of classes; pixels that nobody annotated count nowhere")
    assert "are 'background'" in Reading(LABELS, by_name=True).sentence


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools, with numpy 2
@pytest.mark.parametrize("seed", range(4))
def test_polygons_are_as_pycocotools_draws_them(photos: Path, tmp_path: Path, seed: int) -> None:
    random, (height, width) = np.random.default_rng(seed), (40, 50)
    areas, expected = {}, np.zeros((height, width), np.uint8)
    for class_id, name in enumerate(NAMES[1:], 1):
        rings = [random.uniform(-5, 55, 2 * random.integers(3, 9)).tolist() for _ in range(2)]
        areas[name] = rings
        drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, height, width)))
        expected[drawn == 1] = class_id
    truths, _ = listed(photos, write(tmp_path / "t.json", coco_of(areas, (height, width))))
    assert np.array_equal(read(truths["a/0.jpg"]), expected)


def test_label_studio_has_outlines_in_percent(photos: Path, tmp_path: Path) -> None:
    size = (20, 40)
    result = [
        files.region("rectangle", size, "car", x=25, y=50, width=50, height=25, rotation=0),
        files.region("polygon", size, "tree", points=[[0, 0], [10, 0], [10, 20], [0, 20]]),
        files.region("ellipse", size, "road sign", x=75, y=50, radiusX=10, radiusY=20, rotation=0),
        files.region("rectangle", size, "tree", x=100, y=0, width=20, height=10, rotation=90),
        files.region("keypoint", size, "tree", x=1, y=1, width=1),
    ]
    path = write(tmp_path / "t.json", [files.task("/data/upload/1/0123abcd-0.jpg", result)])
    truths, facts = listed(photos, path)
    rows, columns = np.indices(size)
    expected = np.zeros(size, np.uint8)
    expected[10:15, 10:30] = 1
    expected[:4, :4] = 3
    expected[((columns + 0.5 - 30) / 4) ** 2 + ((rows + 0.5 - 10) / 4) ** 2 <= 1] = 2
    expected[0:8, 38:40] = 3  # turned clockwise about its upper left corner
    assert np.count_nonzero(read(truths["a/0.jpg"]) != expected) <= 4  # of the ellipse's edge
    assert facts is not None and any("1 keypointlabels" in note for note in facts.notes)


def test_ellipses_and_boxes_of_cvat_are_turned_about_their_centres(photos: Path, tmp_path: Path) -> None:
    one = '<image id="0" name="a/0.jpg" width="21" height="13">'
    box = '<box label="car" xtl="2" ytl="5" xbr="8" ybr="7" rotation="90"/>'
    turned = '<ellipse label="tree" cx="15" cy="6" rx="5.2" ry="1.7" rotation="90"/>'
    other = '<ellipse label="tree" cx="15" cy="6" rx="1.7" ry="5.2"/>'
    maps = []
    for ellipse in (turned, other):
        whole = f"<annotations>{one}{box}{ellipse}</image></annotations>".encode()
        maps.append(read(listed(photos, write(tmp_path / "t.xml", whole))[0]["a/0.jpg"]))
    expected = np.zeros((13, 21), np.uint8)
    expected[3:9, 4:6] = 1
    assert np.array_equal(maps[0][:, :9], expected[:, :9])
    assert np.count_nonzero(maps[1] == 3) > 20
    assert np.array_equal(*maps)


def test_ellipses_of_label_studio_are_turned_about_their_centres(photos: Path, tmp_path: Path) -> None:
    maps = []
    for shape in ({"radiusX": 40, "radiusY": 10, "rotation": 90}, {"radiusX": 10, "radiusY": 40}):
        region = files.region("ellipse", (20, 20), "car", x=50, y=50, **shape)
        path = write(tmp_path / "t.json", [files.task("a/0.jpg", [region])])
        maps.append(read(listed(photos, path)[0]["a/0.jpg"]))
    assert np.count_nonzero(maps[0][2:18, 8:12]) == np.count_nonzero(maps[0]) > 40
    assert np.array_equal(*maps)


def test_the_latest_row_of_an_image_counts(photos: Path, tmp_path: Path) -> None:
    ids = MAPS["a/0.jpg"]
    rows = []
    for year, drawn in ((2025, 3 - ids), (2026, ids), (2024, 3 - ids)):
        (row,) = files.label_studio_min({"a/0.jpg": drawn}, NAMES)
        rows.append({**row, "updated_at": f"{year}-01-01T00:00:00Z"})
    path = write(tmp_path / "t.json", rows)
    truths, facts = listed(photos, path)
    assert np.array_equal(read(truths["a/0.jpg"]), ids)
    assert facts is not None and "2 tasks have several annotations" in facts.notes[0]


def test_the_size_of_an_image_without_regions_is_that_of_its_predictions(
    photos: Path, tmp_path: Path
) -> None:
    told, untold = files.task("a/0.jpg", []), files.task("a/1.jpg", [])
    told["predictions"] = [{"result": files.brushes(MAPS["a/0.jpg"], NAMES)}]
    path = write(tmp_path / "t.json", [told, untold])
    truths, facts = listed(photos, path)
    assert truths["a/1.jpg"] is None
    nothing = read(truths["a/0.jpg"])
    assert nothing.shape == SIZES[0] and not nothing.any()
    assert facts is not None and len(facts.notes) == 2
    assert facts.notes[0].startswith(f"{path}: 1 task has an annotation without any region")
    assert "1 annotated image is without any area" in facts.notes[1]


def test_what_belongs_to_a_labelled_region_is_not_left_out(photos: Path, tmp_path: Path) -> None:
    result = files.brushes(MAPS["a/0.jpg"], NAMES)
    result += [
        {"id": result[0]["id"], "type": "textarea", "value": {"text": ["x"]}},
        {"id": "alone", "type": "rectangle", "value": {"x": 0, "y": 0, "width": 1, "height": 1}},
    ]
    path = write(tmp_path / "t.json", [files.task("a/0.jpg", result)])
    truths, facts = listed(photos, path)
    assert np.array_equal(read(truths["a/0.jpg"]), MAPS["a/0.jpg"])
    assert facts is not None and facts.notes == [f"{path}: left out: 1 rectangle without a label"]


def test_label_studio_takes_the_latest_ground_truth(photos: Path, tmp_path: Path) -> None:
    ids = MAPS["a/0.jpg"]
    other = np.zeros_like(ids) + 1

    def one(drawn: Ids, when: str, **more: Any) -> dict[str, Any]:
        (annotation,) = files.task("", files.brushes(drawn, NAMES), updated_at=when, **more)["annotations"]
        return annotation

    choices = {
        "ground truth": [one(ids, "2024", ground_truth=True), one(other, "2025"), one(other, "2023")],
        "latest": [one(other, "2024"), one(ids, "2025"), one(other, "2023")],
        "not cancelled": [one(other, "2026", was_cancelled=True), one(ids, "2025"), one(other, "2023")],
    }
    for name, given in choices.items():
        whole = {"data": {"image": "/data/local-files/?d=here/a/0.jpg"}, "annotations": given}
        truths, facts = listed(photos, write(tmp_path / "t.json", [whole]))
        assert np.array_equal(read(truths["a/0.jpg"]), ids), name
        assert facts is not None and any("1 task has several annotations" in note for note in facts.notes)
    cancelled = {**whole, "annotations": [one(ids, "2026", was_cancelled=True)]}
    guessed = {"data": whole["data"], "predictions": [one(ids, "2026")]}
    for task in (cancelled, guessed):
        with pytest.raises(SourceError, match=r"it has nothing \(1 task has no annotation"):
            listed(photos, write(tmp_path / "t.json", [task]))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"image_rotation": 90}, "it was drawn on the turned image"),
        ({"original_width": 5}, "some of its regions are of another size of the image than others"),
        ({"item_index": 1}, "its task has several images"),
        (
            {"value": {"imageDataURL": "data:", "brushlabels": ["car"]}},
            "it is of a BitMask, which is not read",
        ),
        ({"value": {"format": "rle", "rle": [1, 2], "brushlabels": ["car"]}}, "its brush runs end too early"),
        ({"value": {"points": [[0, 0], [1]], "polygonlabels": ["car"]}}, "not enough values to unpack"),
        (
            {"value": {"points": [[0, 0]] * 3, "labels": ["car", "tree"]}},
            "it has two labels, 'car' and 'tree'",
        ),
    ],
)
def test_a_region_that_cannot_be_read_costs_its_image_alone(
    photos: Path, tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    tasks = files.label_studio({name[2:]: ids for name, ids in MAPS.items()}, NAMES)
    tasks[0]["annotations"][0]["result"][0].update(change)
    path = write(tmp_path / "t.json", tasks)
    assert expected in fault(photos, path)
    assert np.array_equal(read(listed(photos, path)[0]["a/1.jpg"]), MAPS["a/1.jpg"])


def test_cvat_has_boxes_polygons_and_an_order(photos: Path, tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.xml",
        b"""<annotations><image id="0" name="a\\0.jpg" width="12" height="10">
        <box label="tree" xtl="2" ytl="2" xbr="8" ybr="8" z_order="1"/>
        <polygon label="car" points="0,0;12,0;12,5;0,5" z_order="0"/>
        <polyline label="car" points="0,0;12,0" z_order="0"/>
        <ellipse label="road sign" cx="10" cy="8" rx="2" ry="1" z_order="2"/>
        </image></annotations>""",
    )
    truths, facts = listed(photos, path)
    expected = np.zeros((10, 12), np.uint8)
    expected[:5] = 1
    expected[2:8, 2:8] = 3
    drawn = read(truths["a/0.jpg"])
    assert np.array_equal(drawn[:, :8], expected[:, :8])
    assert (drawn[7:9, 9:11] == 2).all()
    assert facts is not None and facts.notes == [f"{path}: left out: 1 polyline"]


def test_images_without_any_area_are_background_and_told(photos: Path, tmp_path: Path) -> None:
    truths, facts = listed(photos, write(tmp_path / "t.json", coco_of({}, SIZES[0])))
    assert not read(truths["a/0.jpg"]).any() and read(truths["a/0.jpg"]).shape == SIZES[0]
    assert truths["a/1.jpg"] is None
    assert facts is not None and facts.notes == [
        f"{tmp_path / 't.json'}: 1 annotated image is without any area, and all pixels count as annotated by "
        "nobody"
    ]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("a/0.jpg", "a/0.jpg"),
        ("0.jpg", "a/0.jpg"),
        ("photos/a/0.jpg", "a/0.jpg"),
        ("/mnt/x/photos/a/0.png", "a/0.jpg"),
        ("..\\photos\\a\\0.jpg", "a/0.jpg"),
        ("images/0123abcd-0.jpg", "a/0.jpg"),
        ("elsewhere/0.jpg", "a/0.jpg"),
        ("same.jpg", None),
        ("b/same.jpg", "b/same.jpg"),
        ("0", "a/0.jpg"),
        ("10.jpg", None),
        ("top.jpg", "top.jpg"),
        ("a/e\u0301.jpg", "a/\u00e9.jpg"),
        ("images/\u00e9.png", "a/\u00e9.jpg"),
        ("a/u\u0308.jpg", "a/u\u0308.jpg"),
        ("a/\u00fc.jpg", "a/u\u0308.jpg"),
    ],
)
def test_an_image_is_found_by_the_end_of_its_path(
    photos: Path, tmp_path: Path, name: str, image: str | None
) -> None:
    for folder in ("b", "c"):
        (photos / folder).mkdir()
        (photos / folder / "same.jpg").write_bytes(save(MAPS["a/0.jpg"], "JPEG"))
    for more in ("top.jpg", "b/top.jpg", "a/\u00e9.jpg", "a/u\u0308.jpg"):
        (photos / more).write_bytes(save(MAPS["a/0.jpg"], "JPEG"))
    path = write(tmp_path / "t.json", coco_of({"car": [[0, 0, 5, 0, 5, 5]]}, SIZES[0], name))
    if image is None:
        with pytest.raises(SourceError, match=f"no image is annotated in .*it has {name}"):
            listed(photos, path)
    else:
        truths, facts = listed(photos, path)
        assert {found for found, truth in truths.items() if truth} == {image}
        assert facts is not None
        by_end = [note for note in facts.notes if "by the end of the path alone" in note]
        assert len(by_end) == name.startswith(("elsewhere/", "images/"))


def test_the_file_may_lie_among_the_images(photos: Path) -> None:
    for path, named in ((photos / "t.json", False), (photos / "u.json", True)):
        write(path, files.coco(MAPS, NAMES))
        source = open_source(FolderSource(path=str(photos), truth=str(photos / "t.json")))
        listing = list_source(source, locate(str(photos.parent / "listing.arrow")), "full")
        assert (listing.images, listing.with_truth) == (3, 3)
        assert listing.passed_over == ({".json": 1} if named else {})


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/3/0123abcd-0%231.jpg",
        "/data/local-files/?d=mnt/photos/a/0%231.jpg",
        "s3://bucket/photos/a/0#1.jpg",
        "gs://bucket/a/0#1.jpg",
        "https://host/photos/a/0%231.jpg?key=x",
        "https://host/data/upload/3/0123abcd-0%231.jpg",
        "upload/0123abcd-0#1.jpg",
        "C:\\photos\\a\\0#1.jpg",
        "a/0#1.jpg",
    ],
)
def test_label_studio_names_images_in_many_ways(photos: Path, tmp_path: Path, image: str) -> None:
    (photos / "a" / "0.jpg").rename(photos / "a" / "0#1.jpg")
    ids = MAPS["a/0.jpg"]
    path = write(tmp_path / "t.json", [files.task(image, files.brushes(ids, NAMES))])
    assert np.array_equal(read(listed(photos, path)[0]["a/0#1.jpg"]), ids)
    inside = write(tmp_path / "t.json", [files.task("data:image/png;base64,aa", files.brushes(ids, NAMES))])
    with pytest.raises(SourceError, match="it has an image inside its task"):
        listed(photos, inside)


def test_whole_paths_tell_images_of_one_name_apart(photos: Path, tmp_path: Path) -> None:
    """Of a.jpg and b/a.jpg the path of the first is the end of nothing but its own."""
    (photos / "a" / "a").mkdir()
    (photos / "a" / "a" / "0.jpg").write_bytes(save(MAPS["a/0.jpg"], "JPEG"))
    (photos / "0.jpg").write_bytes(save(MAPS["a/0.jpg"], "JPEG"))
    maps = {str(photos / name): MAPS["a/0.jpg"] for name in ("0.jpg", "a/0.jpg", "a/a/0.jpg")}
    truths, facts = listed(photos, write(tmp_path / "t.json", files.coco(maps, NAMES)))
    assert {name for name, truth in truths.items() if truth} == {"0.jpg", "a/0.jpg", "a/a/0.jpg"}
    assert facts is not None and not facts.notes


def test_what_fits_no_image_or_several_is_told(photos: Path, tmp_path: Path) -> None:
    (photos / "b").mkdir()
    (photos / "b" / "1.jpg").write_bytes(save(MAPS["a/1.jpg"], "JPEG"))
    content = files.coco(
        {"a/0.jpg": MAPS["a/0.jpg"], "1.jpg": MAPS["a/1.jpg"], "z/9.jpg": MAPS["a/2.jpg"]}, NAMES
    )
    path = write(tmp_path / "t.json", content)
    truths, facts = listed(photos, path)
    assert [name for name, truth in truths.items() if truth] == ["a/0.jpg"]
    assert facts is not None and facts.unmatched == 1 and facts.examples == ["z/9.jpg"]
    assert facts.notes == [
        f"{path}: 1 annotated image is not among those of the source, such as z/9.jpg",
        f"{path}: 1 annotated image is left out, for several of the source fit, such as 1.jpg",
    ]
    for settings in ({"include": ("a/*",)}, {"exclude": ("b/*",)}, {"limit": 4}, {"sample": 4}):
        assert facts_of(photos, path, **settings).unmatched is None


def test_an_image_that_is_named_twice_is_refused_by_itself(photos: Path, tmp_path: Path) -> None:
    whole = files.coco(MAPS, NAMES)
    whole["images"].append({**whole["images"][0], "id": 99})
    sentence = fault(photos, write(tmp_path / "t.json", whole))
    assert sentence == "the file of the annotations has a/0.jpg 2 times, with different annotations"
    truths, _ = listed(photos, tmp_path / "t.json")
    assert np.array_equal(read(truths["a/1.jpg"]), MAPS["a/1.jpg"])


@pytest.mark.parametrize(
    ("area", "expected"),
    [
        ([[1, 1, 2, 2]], "its polygon has 2 corners, and needs 3"),
        ([[1, 1, 2, 2, 3]], "annotation 0 is damaged: its polygon has an x without a y"),
        ([[1, 1, float("nan"), 2, 3, 3]], "its polygon has a corner that is no number"),
        ([[1, 1, 1e9, 2, 3, 3]], "its polygon has a corner at 1e+09, far outside"),
        ([[1, 1, "x", 2, 3, 3]], "annotation 0 is damaged"),
        ({"size": [13, 21], "counts": [3, 4]}, "its runs have 7 pixels, and the image has 273"),
        ({"size": [13, 21], "counts": "05"}, "its runs have 5 pixels, and the image has 273"),
        ({"size": [13, 21], "counts": "\x01"}, "its compressed runs hold characters"),
        ({"size": [13, 21], "counts": [-3, 276]}, "annotation 0 is damaged"),
        ({"size": [21, 13], "counts": [273]}, "runs of its annotation are of 13 x 21 pixels"),
        ({"counts": [273]}, "annotation 0 is damaged"),
        ("x", "annotation 0 is damaged: its segmentation is neither polygons nor runs"),
    ],
)
def test_a_damaged_area_costs_its_image_alone(photos: Path, tmp_path: Path, area: Any, expected: str) -> None:
    whole = coco_of({"car": area}, SIZES[0])
    other = files.coco({"a/1.jpg": MAPS["a/1.jpg"]}, NAMES)
    for key in whole:
        whole[key] += other[key] if key != "categories" else other[key][1:]
    whole["categories"] = [*whole["categories"][:4], *other["categories"]]
    path = write(tmp_path / "t.json", whole)
    assert expected in fault(photos, path)
    truths, facts = listed(photos, path)
    assert np.array_equal(read(truths["a/1.jpg"]), MAPS["a/1.jpg"])
    assert facts is not None and not facts.notes


def test_corners_outside_of_the_image_are_cut_off(photos: Path, tmp_path: Path) -> None:
    area = [[-5, -5, 10, -5, 10, 50, -5, 50]]
    truths, _ = listed(photos, write(tmp_path / "t.json", coco_of({"car": area}, SIZES[0])))
    expected = np.zeros(SIZES[0], np.uint8)
    expected[:, :10] = 1
    assert np.array_equal(read(truths["a/0.jpg"]), expected)


WRONG = {
    "nothing.json": (b"", "it is neither JSON, XML nor a zip"),
    "text.json": (b"hello", "it is neither JSON, XML nor a zip"),
    "other.json": (b'{"type": "FeatureCollection", "features": [{"a": 1}]}', "it names no image"),
    "list.json": (b"[1, 2]", "it is a list of what are no objects"),
    "rows.json": (b'[{"a": 1}]', "its elements are no tasks of Label Studio"),
    "results.json": (b'[{"image_id": 1, "category_id": 2}]', "it looks like results of COCO"),
    "cut.json": (b'{"images": [{"id": 1, "file_name": "a.jpg"}, {"id"', "Expecting"),
    "cut-2.json": (b'{"images": [{"id": 1, "file_name": "a.jpg"}', "it ends too early"),
    "more.json": (b'{"images": [{"id": 1, "file_name": "a.jpg"}]} x', "there is more behind its end"),
    "nameless.json": (b'{"images": [{"id": 1}], "annotations": []}', "its image 1 has no file_name"),
    "twice.json": (
        b'{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}',
        "two of its images have the id 1",
    ),
    "latin.json": ('{"images": [{"file_name": "é"}]}'.encode("latin-1"), "it is not UTF-8 text"),
    "voc.xml": (b"<annotation><a/></annotation>", "it is XML of <annotation>"),
    "video.xml": (b"<annotations><track id='0'/></annotations>", 'it is "CVAT for video"'),
    "cut.xml": (b"<annotations><image id='0' name='a'>", "its XML is damaged"),
    "entity.xml": (b"<!DOCTYPE a [<!ENTITY b 'c'>]><annotations/>", "declares entities"),
    "empty.xml": (b"<annotations/>", "it names no image"),
    "empty.zip": (files.zipped({}), "has no labelmap.txt, annotations.xml or JSON file"),
    "cut.zip": (files.zipped({"a.json": b"{}"})[:-30], "the zip is damaged or truncated"),
    "two.zip": (files.zipped({"a.json": b"{}", "b.json": b"{}"}), "holds 2 files of annotations"),
    "out.zip": (
        files.zipped({"labelmap.txt": b"a:1,2,3::", "SegmentationClass/../../x.png": b"x"}),
        "the zip names a file outside of itself, 'SegmentationClass/../../x.png'",
    ),
    "bomb.zip": (files.zipped({"a.json": b" " * 2**27}), "would unpack to 134,217,728 bytes from"),
    "colours.zip": (files.zipped({"labelmap.txt": b"a:1,2::", "SegmentationClass/x.png": b"x"}), "a:1,2::"),
    "maskless.zip": (files.zipped({"labelmap.txt": b"a:1,2,3::"}), "and no masks in SegmentationClass/"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_file_of_annotations_is_refused(photos: Path, tmp_path: Path, name: str) -> None:
    content, expected = WRONG[name]
    with pytest.raises(SourceError) as caught:
        listed(photos, write(tmp_path / name, content))
    assert str(caught.value).startswith(f"{tmp_path / name}: is no file of annotations that is read: ")
    assert expected in str(caught.value)
    assert "Read are COCO JSON (instances or panoptic), Label Studio JSON" in str(caught.value)


def test_a_mask_that_is_damaged_costs_its_image_alone(photos: Path, tmp_path: Path) -> None:
    data = files.cvat_masks(MAPS, NAMES)
    at = data.index(b"a/0.png") + 60
    path = write(tmp_path / "t.zip", data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
    assert fault(photos, path).startswith("its mask in the zip cannot be read (")
    assert np.array_equal(read(listed(photos, path)[0]["a/1.jpg"]), MAPS["a/1.jpg"])


def test_a_mask_that_is_too_large_is_not_read(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "Limits", lambda: Limits(max_bytes=9))
    path = write(tmp_path / "t.zip", files.cvat_masks(MAPS, NAMES))
    assert fault(photos, path).endswith("bytes, and at most 9 are read")


@pytest.mark.parametrize(
    ("bound", "groups"), [("_ROWS", ["0:0", "0:1", "1:0"]), ("_BYTES", ["0:0", "1:0", "2:0"])]
)
def test_annotations_lie_in_many_row_groups(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, groups: list[str]
) -> None:
    monkeypatch.setattr(spool, bound, 2)
    truths, _ = listed(photos, write(tmp_path / "t.json", files.coco(MAPS, NAMES)))
    assert [str(truth).rpartition("#")[2] for truth in truths.values()] == groups
    for name, ids in MAPS.items():
        assert np.array_equal(read(truths[name]), ids)


def test_a_colour_without_a_class_is_told(photos: Path, tmp_path: Path) -> None:
    whole = files.zipped(
        {
            "labelmap.txt": b"background:0,0,0::\ncar:255,0,0::",
            "SegmentationClass/a/0.png": save(np.full((13, 21, 3), 9, np.uint8), "PNG"),
        }
    )
    assert fault(photos, write(tmp_path / "t.zip", whole)).startswith(
        "colour #090909 (273 pixels) has no class"
    )


def test_a_suffix_rule_has_no_meaning_for_a_file(photos: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", files.coco(MAPS, NAMES))
    with pytest.raises(SourceError, match="leave truth_suffix"):
        listed(photos, path, truth_suffix="_a=_b")
    with pytest.raises(SourceError, match="no such folder or file"):
        listed(photos, tmp_path / "gone.json")


@pytest.mark.parametrize("kind", ["coco.json", "label-studio.json", "cvat-masks.zip", "cvat.xml"])
def test_only_what_was_corrected_has_another_version(photos: Path, tmp_path: Path, kind: str) -> None:
    def versions() -> dict[str, str]:
        source = open_source(FolderSource(path=str(photos), truth=str(tmp_path / "t" / kind)))
        listing = list_source(source, locate(str(tmp_path / "listing.arrow")), "full")
        rows = [row for table in listing.tables() for row in table.to_pylist()]
        return {row["id"]: row["truth_version"] for row in rows}

    files.write_all(tmp_path / "t", MAPS, NAMES)
    before = versions()
    corrected = {"a/new.jpg": MAPS["a/2.jpg"], **MAPS, "a/1.jpg": 3 - MAPS["a/1.jpg"]}  # all ids move on
    files.write_all(tmp_path / "u", corrected, NAMES)
    (tmp_path / "u" / kind).replace(tmp_path / "t" / kind)
    after = versions()
    assert {name for name in before if before[name] != after[name]} == {"a/1.jpg"}


JUNK = (None, True, -1, 3.5, 1e308, "x", [], {}, [1], {"a": 1}, [[]], [[1, 2]], [None], 2**70, "9" * 20)


def spoilt(data: bytes, seed: int, *, as_json: bool) -> bytes:
    """With a value of the JSON taken away or made something else, or with some other bytes."""
    random = Random(seed)
    if not as_json:
        changed = bytearray(data)
        for _ in range(random.randint(1, 6)):
            changed[random.randrange(len(data))] = random.randrange(256)
        return bytes(changed)
    value = whole = json.loads(data)
    while True:
        key = random.choice([*value] if isinstance(value, dict) else range(len(value)))
        below = value[key]
        if not isinstance(below, dict | list) or not below or random.random() < 0.2:
            break
        value = below
    if random.random() < 0.3:
        del value[key]
    else:
        value[key] = random.choice(JUNK)
    return json.dumps(whole).encode()


@pytest.mark.parametrize("kind", FORMATS)
def test_whatever_is_damaged_is_a_sentence(photos: Path, tmp_path: Path, kind: str) -> None:
    data = files.write_all(tmp_path / "truth", MAPS, NAMES)[kind].read_bytes()
    for seed in range(30):
        path = write(tmp_path / "truth" / kind, spoilt(data, seed, as_json=kind.endswith("json")))
        try:
            truths, _ = listed(photos, path)
        except SourceError as exc:
            assert str(path) in str(exc)
            continue
        for truth in truths.values():
            with suppress(RowFault):
                assert truth is None or read(truth) is not None


@pytest.mark.parametrize("kind", ["coco.json", "panoptic.json", "cvat-masks.zip", "cvat.xml"])
def test_behind_a_uri_too(tmp_path: Path, kind: str) -> None:
    written = files.write_all(tmp_path / "truth", MAPS, NAMES)
    root = f"mock://{kind}"
    contents = {f"photos/{name}": save(ids, "JPEG") for name, ids in MAPS.items()}
    contents |= {kind: written[kind].read_bytes()}
    pictures = (tmp_path / "truth" / "panoptic").iterdir()
    contents |= {f"panoptic/{path.name}": path.read_bytes() for path in pictures}
    for name, data in contents.items():
        place = locate(f"{root}/{name}")
        place.parent.make_folder()
        place.write(data)
    source = open_source(FolderSource(path=f"{root}/photos", truth=f"{root}/{kind}"))
    listing = list_source(source, locate(f"{root}/listing.arrow"), "full")
    rows = [row for table in listing.tables() for row in table.to_pylist()]
    assert annotation_facts(listing) is not None
    for row in rows:
        assert row["truth"].startswith(f"{root}/annotations.parquet#")
        assert np.array_equal(read(row["truth"]), MAPS[row["id"]])
