"""Every family of transformers that segments, against the library's own processing of the same image."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tiny_checkpoints import CLASSES, FAMILIES, build
from transformers import (
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    AutoTokenizer,
    AutoVideoProcessor,
    OneFormerProcessor,
)

from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.errors import ModelError, RowFault
from batchseg.schema import Status
from batchseg.segmentors.base import ModelInput
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.huggingface.families import KNOWN, OWN, UNIVERSAL
from batchseg.segmentors.huggingface.processor import pixel_affine
from tests.segmentors.loaded import loaded

Image = NDArray[np.uint8]
ENOUGH = 0.999


def blocks(rows: int, columns: int, size: tuple[int, int], seed: int) -> Image:
    """Coloured rectangles with some noise, cut to an odd size."""
    random = np.random.default_rng(seed)
    image = random.integers(20, 236, (rows, columns, 3)).repeat(16, 0).repeat(16, 1)[: size[0], : size[1]]
    return (image + random.integers(-20, 21, image.shape)).astype(np.uint8)


WIDE, TALL = blocks(5, 8, (77, 117), seed=0), blocks(7, 6, (101, 83), seed=1)


class Library:
    """The library's own way from an image to a label map; without the centre crop, as documented."""

    def __init__(self, family: str, folder: Path) -> None:
        self.family = family
        auto = AutoModelForUniversalSegmentation if family in UNIVERSAL else AutoModelForSemanticSegmentation
        self.network = auto.from_pretrained(folder).eval()
        self.processor: Any = AutoVideoProcessor if family == "videomt" else AutoImageProcessor
        self.processor = self.processor.from_pretrained(folder)
        self.task: Any = None
        if family == "oneformer":
            length = self.network.config.task_seq_len
            tokenizer = AutoTokenizer.from_pretrained(folder)
            self.task = OneFormerProcessor(self.processor, tokenizer, task_seq_length=length)

    def inputs(self, image: Image) -> Any:
        settings = {"return_tensors": "pt", "input_data_format": "channels_last", "do_center_crop": False}
        if self.family == "videomt":
            return self.processor(videos=image[None], **settings)
        if self.task:
            return self.task(image, ["semantic"], **settings)
        return self.processor(images=image, **settings)

    @torch.inference_mode()
    def __call__(self, image: Image) -> NDArray[Any]:
        inputs = self.inputs(image)
        size = image.shape[:2]
        outputs = self.network(**{key: value for key, value in inputs.items() if len(value)})
        if "patch_offsets" in inputs:
            outputs.patch_offsets = inputs["patch_offsets"]
        if getattr(self.processor, "do_pad", False) and self.family.startswith("eomt"):
            # for semantic maps the library leaves the padding in; `unpad_image` is its own remedy
            (square,) = self.processor.post_process_semantic_segmentation(
                outputs, [(64, 64)], return_segmentation_scores=True
            )
            (scores,) = self.processor.unpad_image(
                square["segmentation_scores"][None], [size], self.processor.size
            )
            return np.asarray(scores.argmax(0))
        (labels,) = self.processor.post_process_semantic_segmentation(outputs, target_sizes=[size])
        return np.asarray(labels)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folders: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in folders:
            folders[family] = build(family, tmp_path_factory.mktemp(family))
        return folders[family]

    return get


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def segformer(built: Callable[[str], Path], tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(built("segformer"), tmp_path / "mine"))


def open_folder(folder: Path, **settings: Any) -> HuggingFaceCheckpoint:
    return HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(folder), **settings))


def refused(folder: Path | str) -> str:
    with pytest.raises(ModelError) as caught:
        HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(folder)))
    return str(caught.value)


def prepared(image: Image, checkpoint: HuggingFaceCheckpoint) -> ModelInput:
    return checkpoint.preparer()(image)


def test_the_families_listed_are_those_of_the_library() -> None:
    assert sorted((*FAMILIES, *OWN)) == list(KNOWN)


def test_label_maps_are_the_library_s(family: str, built: Callable[[str], Path]) -> None:
    checkpoint = pickle.loads(pickle.dumps(open_folder(built(family))))
    preparer = pickle.loads(pickle.dumps(checkpoint.preparer()))
    model, library = loaded(checkpoint, "fp32"), Library(family, built(family))
    most_classes = 0
    for image in (WIDE, TALL):
        (prediction,) = model.segment([preparer(image)])
        labels, expected = prediction.labels_HW, library(image)
        assert labels.shape == image.shape[:2]
        assert labels.dtype == checkpoint.label_map.dtype == np.uint8
        assert labels.max() < checkpoint.label_map.num_classes == CLASSES
        assert (labels == expected).mean() >= ENOUGH
        assert prediction.confidence is not None
        assert 1 / CLASSES <= prediction.confidence.mean <= 1
        assert 0 <= prediction.confidence.entropy_mean <= 1
        most_classes = max(most_classes, len(np.unique(expected)))
    assert most_classes > 1, "a map of one class proves nothing"


def test_a_batch_gives_what_its_images_give_alone(family: str, built: Callable[[str], Path]) -> None:
    checkpoint = open_folder(built(family))
    model, again = loaded(checkpoint, "fp32"), loaded(checkpoint, "fp32")
    inputs = [prepared(image, checkpoint) for image in (WIDE, WIDE[:, ::-1], WIDE[::-1])]
    together = model.segment(inputs)
    assert len(together) == 3
    for each, prediction in zip(inputs, together, strict=True):
        (alone,) = again.segment([each])
        assert (prediction.labels_HW == alone.labels_HW).mean() >= ENOUGH
        assert prediction.confidence is not None
        assert alone.confidence is not None
        assert astuple(prediction.confidence) == pytest.approx(astuple(alone.confidence), abs=1e-4)


def test_a_threshold_takes_classes_away_and_changes_none(family: str, built: Callable[[str], Path]) -> None:
    labels = {}
    for below in (None, 0.3, 0.6, 0.999):
        checkpoint = open_folder(built(family))
        (prediction,) = loaded(checkpoint, none_below=below).segment([prepared(WIDE, checkpoint)])
        labels[below] = prediction.labels_HW
    for below in (0.3, 0.6, 0.999):
        assert set(np.unique(labels[below][labels[below] != labels[None]])) <= {CLASSES}
    few, some, most = (labels[below] == CLASSES for below in (0.3, 0.6, 0.999))
    assert (few <= some).all() and (some <= most).all() and most.any()


def test_the_threshold_of_queries_is_on_their_shares(built: Callable[[str], Path]) -> None:
    """MaskFormer's scores of each class, interpolated, then divided by their sum."""
    library = Library("maskformer", built("maskformer"))
    with torch.inference_mode():
        outputs = library.network(**library.inputs(WIDE))
    classes = outputs.class_queries_logits[0].softmax(-1)[:, :-1]
    scores = torch.einsum("qc,qhw->chw", classes, outputs.masks_queries_logits[0].sigmoid())
    full = torch.nn.functional.interpolate(
        scores[None], WIDE.shape[:2], mode="bilinear", align_corners=False
    )[0]
    share = (full.amax(0) / full.sum(0)).numpy()
    below = float(np.median(share))
    checkpoint = open_folder(built("maskformer"))
    (prediction,) = loaded(checkpoint, none_below=below).segment([prepared(WIDE, checkpoint)])
    assert ((prediction.labels_HW == CLASSES) == (share < below)).mean() > 0.97
    assert 0.4 < (prediction.labels_HW == CLASSES).mean() < 0.6


def test_prepared_pixels_are_the_library_s(family: str, built: Callable[[str], Path]) -> None:
    checkpoint, library = open_folder(built(family)), Library(family, built(family))
    scale, shift = pixel_affine(library.processor)
    for image in (WIDE, TALL):
        pixels = prepared(image, checkpoint).pixels_THWC
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        values = torch.from_numpy(pixels).permute(0, 3, 1, 2) * scale + shift
        inputs = library.inputs(image)
        expected = inputs["pixel_values_videos"][0] if family == "videomt" else inputs["pixel_values"]
        torch.testing.assert_close(values, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_nearly_the_same(precision: str, built: Callable[[str], Path]) -> None:
    checkpoint = open_folder(built("segformer"))
    each = prepared(TALL, checkpoint)
    (full,) = loaded(checkpoint, "fp32").segment([each])
    (half,) = loaded(checkpoint, precision).segment([each])
    assert (full.labels_HW == half.labels_HW).mean() > 0.9


def test_a_mask_lies_on_its_image_where_the_processor_crops(built: Callable[[str], Path]) -> None:
    folder = built("mobilevit")
    assert json.loads((folder / "preprocessor_config.json").read_text())["do_center_crop"]
    image = np.zeros((64, 160, 3), np.uint8)
    image[:, :16] = 255  # the crop of the middle square would lose it
    pixels = prepared(image, open_folder(folder)).pixels_THWC[0]
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(160 / 64, rel=0.02)
    assert (pixels[:, : pixels.shape[1] // 12] == 255).all()


def test_channels_are_turned_round_where_the_processor_does(built: Callable[[str], Path]) -> None:
    red = np.full((40, 40, 3), (200, 100, 0), np.uint8)
    pixels = prepared(red, open_folder(built("mobilevit"))).pixels_THWC
    assert (pixels == (0, 100, 200)).all()


def test_a_read_only_image_is_prepared(built: Callable[[str], Path]) -> None:
    image = WIDE.copy()
    image.flags.writeable = False
    checkpoint = open_folder(built("segformer"))
    assert (prepared(image, checkpoint).pixels_THWC == prepared(WIDE, checkpoint).pixels_THWC).all()


@pytest.mark.parametrize("size", [(150, 220), (220, 150), (60, 300)])
def test_the_input_is_as_large_as_the_preparer_tells(
    family: str, size: tuple[int, int], built: Callable[[str], Path]
) -> None:
    preparer = open_folder(built(family)).preparer()
    made = preparer(np.zeros((*size, 3), np.uint8))
    found = list(made.geometry.get("content") or made.pixels_THWC.shape[1:3])
    if "crops" in made.geometry:
        found[int(size[1] > size[0])] = made.geometry["crops"][-1][1]
    assert np.abs(np.subtract(found, preparer.input_hw(size))).max() <= 1  # by how each rounds


def test_a_sliver_is_refused_before_it_is_blown_up(built: Callable[[str], Path]) -> None:
    with pytest.raises(RowFault, match=r"20000 x 1 .* 1440000 x 72") as caught:
        prepared(np.zeros((1, 20000, 3), np.uint8), open_folder(built("mobilevit")))
    assert caught.value.status is Status.TOO_LARGE


def test_names_come_in_the_order_of_their_ids_and_are_made_unique(segformer: Path) -> None:
    config = json.loads((segformer / "config.json").read_text())
    config["id2label"] = {
        "2": "N/A",
        "10": "last",
        "0": "sky",
        "1": "N/A",
        **{str(n): f"n{n}" for n in range(3, 10)},
    }
    (segformer / "config.json").write_text(json.dumps(config))
    names = open_folder(segformer).label_map.names
    assert names == ("sky", "N/A (1)", "N/A (2)", *(f"n{n}" for n in range(3, 10)), "last")


def test_names_left_out_are_the_library_s_default(segformer: Path) -> None:
    config = json.loads((segformer / "config.json").read_text())
    del config["id2label"]
    (segformer / "config.json").write_text(json.dumps(config))
    assert open_folder(segformer).label_map.names == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize("id2label", [["sky", "road"], {"first": "sky"}])
def test_names_without_ids_are_refused(id2label: Any, segformer: Path) -> None:
    config = json.loads((segformer / "config.json").read_text())
    (segformer / "config.json").write_text(json.dumps({**config, "id2label": id2label}))
    assert "does not map class ids to names" in refused(segformer)


def test_the_fingerprint_is_of_the_contents(segformer: Path, tmp_path: Path) -> None:
    before = open_folder(segformer).fingerprint
    (segformer / "README.md").write_text("how it was trained")
    assert open_folder(shutil.copytree(segformer, tmp_path / "copy")).fingerprint == before
    for name in ("preprocessor_config.json", "config.json", "model.safetensors"):
        path = segformer / name
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        assert open_folder(segformer).fingerprint != before
        path.write_bytes(content)


def test_opening_loads_neither_torch_nor_transformers(segformer: Path) -> None:
    code = (
        "import sys; from batchseg.config.segmentor import HuggingFaceSegmentor as C; "
        "from batchseg.segmentors.registry import open_checkpoint; "
        f"open_checkpoint(C(model={str(segformer)!r})); "
        "print(*({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "\n"
    )


def test_a_hub_model_in_the_cache_is_opened_offline_at_its_commit(segformer: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "cache" / "models--acme--tiny"
    shutil.copytree(segformer, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    code = (
        "from batchseg.config.segmentor import HuggingFaceSegmentor as C; "
        "from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint as H; "
        "from batchseg.errors import ModelError\n"
        "found = H.open(C(model='acme/tiny'))\n"
        "print(found.location.name, found.location.commit, found.location.folder().name, found.fingerprint)\n"
        "try: H.open(C(model='acme/absent'))\n"
        "except ModelError as error: print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    first, second = run.stdout.splitlines()
    assert first == f"acme/tiny {commit} {commit} {open_folder(segformer).fingerprint}"
    assert second.startswith(
        "there is no folder acme/absent, and no model of that name could be had from the hub: "
    )


def test_what_is_neither_a_folder_nor_a_hub_name_is_refused(tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path / 'absent'}" in refused(tmp_path / "absent")
    (tmp_path / "model.safetensors").touch()
    assert refused(tmp_path / "model.safetensors").endswith("is a file; name the folder that holds it")


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path) == f"{tmp_path} is an empty folder; name the one that the model was saved in"
    (tmp_path / "notes.txt").touch()
    assert refused(tmp_path) == f"{tmp_path} is not a checkpoint: it has no config.json"


@pytest.mark.parametrize(
    ("content", "sentence"), [("{", "cannot read its config.json"), ("[]", "not a JSON object")]
)
def test_a_broken_config_is_refused(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    assert sentence in refused(tmp_path)


def test_an_unknown_family_is_refused_with_the_known_ones(segformer: Path) -> None:
    (segformer / "config.json").write_text('{"model_type": "bert"}')
    sentence = refused(segformer)
    assert "model_type 'bert'" in sentence
    assert all(name in sentence for name in FAMILIES)


def test_pickled_weights_are_refused_with_the_way_out(segformer: Path) -> None:
    (segformer / "model.safetensors").rename(segformer / "pytorch_model.bin")
    assert "only as .bin" in refused(segformer)
    assert "save_pretrained" in refused(segformer)
    (segformer / "pytorch_model.bin").unlink()
    assert refused(segformer) == f"{segformer} has no model.safetensors"


def test_a_missing_shard_is_refused_by_name(segformer: Path) -> None:
    (segformer / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (segformer / "model.safetensors.index.json").write_text(json.dumps(index))
    (segformer / "model-00001-of-00002.safetensors").touch()
    assert refused(segformer).endswith("has no model-00002-of-00002.safetensors")


def test_a_folder_without_an_image_processor_is_refused(segformer: Path) -> None:
    (segformer / "preprocessor_config.json").unlink()
    assert "has no preprocessor_config.json" in refused(segformer)


def test_missing_weights_are_refused_rather_than_made_up(segformer: Path) -> None:
    weights = load_file(segformer / "model.safetensors")
    del weights["decode_head.classifier.weight"]
    save_file(weights, segformer / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of the weights .* decode_head.classifier.weight"):
        loaded(open_folder(segformer), "fp32")


def test_damaged_weights_are_refused(segformer: Path) -> None:
    (segformer / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="cannot load"):
        loaded(open_folder(segformer), "fp32")
