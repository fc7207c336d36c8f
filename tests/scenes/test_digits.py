from __future__ import annotations

import sys
from collections import Counter
from itertools import combinations
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from transformers import AutoImageProcessor

from batchseg.errors import ConfigError
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.scenes.digits import CLASS_NAMES, SourceDigits, compose, load_source_digits
from batchseg.segmentors.llm.modeling_llmseg import LLMSemanticSegmentor

SPLITS = ("train", "validation", "test")
SAMPLES = Path(__file__).parents[2] / "sample_data"


@pytest.fixture(scope="module")
def digits():
    return load_source_digits("train")


def one_digit(value: int) -> SourceDigits:
    chosen = load_digits().target == value
    ink = (load_digits().images[chosen] * 15).astype(np.uint8)
    return SourceDigits(ink, np.full(len(ink), value, np.uint8))


def test_the_splits_share_no_digit_and_leave_none_out():
    parts = [load_source_digits(split) for split in SPLITS]
    scanned = [{ink.tobytes() for ink in part.ink_NSS} for part in parts]
    assert all(not one & other for one, other in combinations(scanned, 2))
    assert [len(part) for part in parts] == [1168, 180, 449]
    assert np.array_equal(np.concatenate([part.values_N for part in parts]), load_digits().target)


def test_every_split_has_every_digit_and_the_full_range_of_ink():
    for split in SPLITS:
        digits = load_source_digits(split)
        assert set(digits.values_N.tolist()) == set(range(10))
        assert (digits.ink_NSS.min(), digits.ink_NSS.max()) == (0, 255)


def test_without_scikit_learn_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'batchseg\[scenes\]'"):
        load_source_digits("train")


def test_a_seed_gives_one_scene_and_another_seed_another(digits):
    first, again, other = (compose(np.random.default_rng(seed), digits, 200, 300) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(("height", "width"), [(150, 150), (203, 517), (520, 200)])
def test_a_scene_has_the_size_asked_for(digits, height, width):
    image_HWC, labels_HW = compose(np.random.default_rng(0), digits, height, width)
    assert (image_HWC.shape, image_HWC.dtype) == ((height, width, 3), np.uint8)
    assert (labels_HW.shape, labels_HW.dtype) == ((height, width), np.uint8)


def test_the_smallest_scene_has_room_for_any_digit(digits):
    rng = np.random.default_rng(1)
    for _ in range(200):
        compose(rng, digits, 150, 150)


def test_a_scene_too_small_for_a_digit_is_refused(digits):
    with pytest.raises(ConfigError, match="at least 150 px wide and high, not 400 x 149"):
        compose(np.random.default_rng(0), digits, 149, 400)


@pytest.mark.parametrize("value", range(10))
def test_a_digit_is_labelled_one_above_its_value(value):
    _, labels_HW = compose(np.random.default_rng(value), one_digit(value), 300, 300)
    assert set(np.unique(labels_HW).tolist()) == {0, 1 + value}


def test_the_classes_are_background_and_the_digits_in_order():
    assert CLASS_NAMES[0] == "background"
    assert "".join(name[0] for name in CLASS_NAMES[1:]) == "zottffssen"


def test_over_many_scenes_every_class_appears_and_background_prevails(digits):
    rng = np.random.default_rng(3)
    counts = sum(np.bincount(compose(rng, digits, 240, 320)[1].ravel(), minlength=11) for _ in range(60))
    assert len(counts) == len(CLASS_NAMES) == 11
    assert (counts > 0).all()
    assert 0.75 < counts[0] / counts.sum() < 0.95


def test_ink_stands_out_from_what_surrounds_it(digits):
    rng = np.random.default_rng(4)
    contrasts = []
    for _ in range(50):
        image_HWC, labels_HW = compose(rng, digits, 240, 320)
        grey_HW = np.asarray(Image.fromarray(image_HWC).convert("L"), float)
        contrasts.append(np.abs(grey_HW[labels_HW > 0] - np.median(grey_HW[labels_HW == 0])).mean())
    assert np.min(contrasts) > 15
    assert np.mean(contrasts) > 50


# --- the sample data that comes with the project ----------------------------------------------------


def images() -> list[Path]:
    return sorted(path for path in (SAMPLES / "images").rglob("*") if path.is_file())


def mask_of(image: Path) -> Path:
    return (SAMPLES / "masks" / image.relative_to(SAMPLES / "images")).with_suffix(".png")


def test_the_samples_are_24_images_with_a_mask_each_and_no_mask_more():
    assert len(images()) == 24
    masks = {path for path in (SAMPLES / "masks").rglob("*") if path.is_file()}
    assert masks == {mask_of(image) for image in images()}


@pytest.mark.parametrize("image", images(), ids=lambda path: path.relative_to(SAMPLES).as_posix())
def test_a_sample_mask_is_an_indexed_png_of_the_images_size(image):
    with Image.open(image) as picture, Image.open(mask_of(image)) as mask:
        assert (picture.mode, mask.mode, mask.format) == ("RGB", "P", "PNG")
        assert picture.size == mask.size
        ids = set(np.unique(np.asarray(mask)).tolist())
    assert 0 in ids
    assert len(ids) >= 2
    assert ids <= set(range(11))


def test_the_samples_differ_in_size_orientation_and_format():
    sizes = []
    for image in images():
        with Image.open(image) as picture:
            sizes.append(picture.size)
    assert len(set(sizes)) == 24
    assert {width > height for width, height in sizes} == {True, False}
    suffixes = Counter(image.suffix for image in images())
    assert suffixes[".jpg"] > suffixes[".png"] > 0


def test_one_base_name_occurs_in_two_folders():
    assert [count for count in Counter(image.stem for image in images()).values() if count > 1] == [2]


def test_the_manifest_lists_the_files_that_are_there():
    rows = pq.read_table(SAMPLES / "manifest.parquet").to_pylist()
    assert {row["id"] for row in rows} == {i.relative_to(SAMPLES / "images").as_posix() for i in images()}
    assert len({row["id"] for row in rows}) == len(rows) == 24
    for row in rows:
        assert row["image"] == f"images/{row['id']}"
        assert row["truth"] == str(PurePosixPath("masks", row["id"]).with_suffix(".png"))
        assert (SAMPLES / row["truth"]).is_file()
        assert (row["split"], row["camera"]) == ("test", row["id"].split("/")[1])


def test_the_images_and_masks_stay_small():
    assert sum(path.stat().st_size for image in images() for path in (image, mask_of(image))) < 2_000_000


def test_the_model_reads_the_samples_and_names_the_classes():
    processor = AutoImageProcessor.from_pretrained(SAMPLES / "model")
    model = LLMSemanticSegmentor.from_pretrained(SAMPLES / "model", dtype=torch.float32).eval()
    assert [model.config.id2label[number] for number in range(11)] == list(CLASS_NAMES)
    total = ConfusionMatrix.zeros(11)
    for image in images():
        with Image.open(image) as picture, Image.open(mask_of(image)) as mask:
            pixels_HWC, truth_HW = np.array(picture), np.asarray(mask)
        with torch.inference_mode():
            output = model(**processor(pixels_HWC, return_tensors="pt"))
        (predicted,) = processor.post_process_semantic_segmentation(output, [truth_HW.shape])
        total += ConfusionMatrix.from_maps(predicted.numpy(), truth_HW, 11)
    assert total.mean_iou == pytest.approx(0.853, abs=0.01)  # as README.md says


def test_the_model_is_small_enough_for_a_repository():
    assert (SAMPLES / "model" / "model.safetensors").stat().st_size < 12_000_000
