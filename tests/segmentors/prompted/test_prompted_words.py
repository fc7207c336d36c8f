"""How classes are put into words for prompted models, and what is said of words that cannot be read."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

import batchseg
from batchseg.config.load import validate_segmentor
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.errors import BatchsegError, ConfigError
from batchseg.segmentors.base import Prompted, prompting_of
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.registry import open_checkpoint
from tests.segmentors.prompted.test_prompted_maps import images, naive
from tests.segmentors.prompted.tiny_prompted import FAMILIES, build_prompted, tokenizer
from tests.segmentors.tiny_checkpoints import build


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: build_prompted(family, tmp_path_factory.mktemp(family)) for family in FAMILIES}


@pytest.fixture(scope="module")
def clipseg(checkpoints: dict[str, Path]) -> Path:
    return checkpoints["clipseg"]


def opened(folder: Path, labels: Path | None = None, **settings: Any) -> Any:
    config = validate_segmentor({"kind": "huggingface", "model": str(folder), **settings})
    return open_checkpoint(config, None if labels is None else str(labels))


def label_file(folder: Path, classes: list[Any], **more: Any) -> Path:
    (folder / "mine.yaml").write_text(yaml.safe_dump({"classes": classes, **more}))
    return folder / "mine.yaml"


def test_the_words_come_from_the_configuration_then_from_the_label_map(clipseg: Path, tmp_path: Path) -> None:
    labels = label_file(
        tmp_path,
        ["background", {"name": "traffic_light", "synonyms": ["stop light", "Car"]}, {"name": "car"}],
        prompts=["a {}", "the {}"],
    )
    listed = opened(clipseg, labels)
    assert (listed.prompted, listed.label_map.names) == ("list", ("background", "traffic_light", "car"))
    assert listed.prompts.texts == (
        (),
        ("a traffic light", "the traffic light", "a stop light", "the stop light"),
        ("a car", "the car"),
    )
    assert listed.prompts.background == 0
    given = opened(clipseg, labels, classes="road, other")
    assert given.prompts.texts == (("road",), ())
    rows = opened(clipseg)
    assert (rows.prompted, rows.label_map.names) == ("rows", ("background", "foreground"))
    assert all(isinstance(each, Prompted) for each in (listed, rows))
    assert pickle.loads(pickle.dumps(listed)) == listed


def test_sam_reads_bare_noun_phrases(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    labels = label_file(tmp_path, ["background", {"name": "car", "synonyms": ["auto"]}], prompts=["a {}"])
    assert opened(checkpoints["sam3"], labels).prompts.texts == ((), ("car", "auto"))


def test_a_merged_class_is_asked_for_by_all_its_names(clipseg: Path, tmp_path: Path) -> None:
    labels = label_file(tmp_path, ["background", "car", "bus"], merge={"vehicle": ["car", "bus"]})
    found = opened(clipseg, labels)
    assert found.prompts.texts == ((), ("vehicle", "car", "bus"))


def test_what_other_models_are_is_known(tmp_path: Path) -> None:
    assert prompting_of(opened(build("segformer", tmp_path))) is None


def test_synonyms_of_sam_count_by_their_highest_map(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    for family in ("sam3", "sam3_lite_text"):
        labels = label_file(tmp_path, ["background", {"name": "car", "synonyms": ["tree", "sky"]}])
        checkpoint = opened(checkpoints[family], labels, prompting={"presence": 0})
        (image,) = images(1)
        (scores,) = checkpoint.load("cpu", "fp32").scores([checkpoint.preparer()(image)])
        wanted_HW = naive(family, checkpoints[family], image, ["car", "tree", "sky"])["maps"].amax(0)
        torch.testing.assert_close(scores.maps[1], wanted_HW, rtol=0, atol=1e-3)


def test_templates_of_clipseg_count_by_the_mean_of_their_embeddings(clipseg: Path, tmp_path: Path) -> None:
    """As long as they are on average, so that the decoder gets what it is used to."""
    labels = label_file(
        tmp_path, ["background", {"name": "car", "synonyms": ["auto"]}], prompts=["a {}", "{}"]
    )
    checkpoint = opened(clipseg, labels)
    model, given = checkpoint.load("cpu", "fp32"), checkpoint.preparer()(images(1)[0])
    (scores,) = model.scores([given])
    network, tokenize = model.family.network, tokenizer()

    def embedding(text: str) -> Tensor:
        found: Tensor = network.clip.get_text_features(**tokenize([text], return_tensors="pt")).pooler_output
        return found

    with torch.inference_mode():
        all_ND = torch.cat([embedding(text) for text in ("a car", "car", "a auto", "auto")])
        mean_D = all_ND.mean(0)
        mean_D *= all_ND.norm(dim=1).mean() / mean_D.norm()
        pixels = torch.from_numpy(given.pixels_THWC).permute(0, 3, 1, 2)
        answer = network(
            pixel_values=pixels * model.scale_C11 + model.shift_C11, conditional_embeddings=mean_D[None]
        )
    torch.testing.assert_close(scores.maps[1], answer.logits.reshape(64, 64).sigmoid(), rtol=0, atol=1e-5)


LONG = " ".join(["word"] * 12)  # 48 letters, each a token


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"classes": ["road", "  "]}, "none of them empty"),
        ({"classes": ["background", "_"]}, "'_' has no words"),
        ({"classes": ["road", "Road"]}, "names 'road' twice"),
        ({"classes": ["traffic light", "traffic_light", "sky"]}, "says 'traffic light' twice"),
        ({"classes": ["road"]}, "a class alone would take every pixel"),
        ({"classes": ["background", "other"]}, "'background' and 'other' are both"),
        ({"classes": ["background", LONG]}, "has 50 tokens, and the model reads 40"),
        (
            {"classes": ["background", LONG * 99]},
            "class 'word word word word word word word word word word word wo...':",
        ),
        ({"classes": ["background", "дорога"]}, "class 'дорога': the prompt 'дорога' has no word that"),
        (
            {"classes": "background, road", "prompting": {"thresholds": {"street": 0.3}}},
            "thresholds names 'street', which is none of the classes",
        ),
        (
            {"classes": "other, road", "prompting": {"thresholds": {"other": 0.3}}},
            "'other', which is what the other classes leave over",
        ),
        ({"prompting": {"threshold": 1.0}}, "threshold: Input should be less than 1"),
    ],
)
def test_a_list_that_cannot_be_read(settings: dict[str, Any], sentence: str, clipseg: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(clipseg, **settings)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_one_class_of_a_label_map(clipseg: Path, tmp_path: Path) -> None:
    with pytest.raises(BatchsegError, match="'road' alone would take every pixel"):
        opened(clipseg, label_file(tmp_path, ["road"]))
    with pytest.raises(BatchsegError, match="'background' alone leaves nothing to look for"):
        opened(clipseg, label_file(tmp_path, ["background"]))


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("the red car", None),
        (" \t", "is empty"),
        (LONG, "has 50 tokens, and the model reads 40"),
        ("\N{UNICORN FACE} 道路", "has no word that the model's tokenizer knows"),
        ("\N{UNICORN FACE} car", None),
    ],
)
def test_prompts_of_rows_are_checked_beforehand(clipseg: Path, prompt: str, sentence: str | None) -> None:
    fault = opened(clipseg).prompt_fault(prompt)
    assert fault is None if sentence is None else sentence in fault


def test_it_needs_no_torch(clipseg: Path) -> None:
    code = (
        "import sys; from batchseg.segmentors.registry import open_checkpoint; "
        "from batchseg.config.load import validate_segmentor; "
        f"config = validate_segmentor({{'kind': 'huggingface', 'model': {str(clipseg)!r}, "
        "'classes': ['background', 'road']}); "
        "open_checkpoint(config).prompt_fault('road'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(batchseg.__file__).parents[1])


def test_negations_are_named(clipseg: Path) -> None:
    listed = opened(clipseg, classes=["background", "person without helmet", "a knot", "no entry sign"])
    (note,) = listed.notes
    assert note.startswith("'person without helmet', 'no entry sign': prompted models")
    assert opened(clipseg, classes=["background", "a knot"]).notes == ()


def test_a_threshold_of_presence_that_a_model_does_not_have_is_named(clipseg: Path) -> None:
    classes = ["background", "a knot", "a pipe"]
    (note,) = opened(clipseg, classes=classes, prompting={"presence": 0.3}).notes
    assert note.startswith("segmentor.prompting.presence has no effect")


def test_a_prompt_that_is_compared_with_none_is_named(checkpoints: dict[str, Path]) -> None:
    (note,) = opened(checkpoints["groupvit"]).notes
    assert "tells prompts from each other" in note
    assert opened(checkpoints["groupvit"], classes=["background", "road", "sky"]).notes == ()


def test_prompting_of_a_model_that_takes_no_prompts(tmp_path: Path) -> None:
    with pytest.raises(BatchsegError, match="is a segformer model; leave it out"):
        opened(build("segformer", tmp_path), prompting={"presence": 0.2})


def test_a_threshold_of_two_classes_is_another_one(clipseg: Path) -> None:
    with pytest.raises(BatchsegError, match=r"set segmentor\.prompting\.threshold in its place"):
        batchseg.load_segmentor({"model": str(clipseg), "threshold": 0.3})


def test_the_image_model_of_a_tracker(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """As facebook/sam3 is published: the configuration and the weights of both in one folder."""
    for file in checkpoints["sam3"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "sam3_video", "detector_config": content})
    )
    weights = load_file(tmp_path / "model.safetensors")
    renamed = {f"detector_model.{name}": tensor for name, tensor in weights.items()}
    save_file(
        {**renamed, "tracker_model.x": torch.zeros(2)},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    maps = []
    for folder in (checkpoints["sam3"], tmp_path):
        checkpoint = opened(folder, classes="background, car", prompting={"presence": 0})
        (scores,) = checkpoint.load("cpu", "fp32").scores([checkpoint.preparer()(images(1)[0])])
        maps.append(scores.maps)
    assert torch.equal(*maps)


def test_a_processor_of_another_shape(tmp_path: Path) -> None:
    """These models read squares, whatever a processor says; what it does not say is the library's."""
    (image,) = images(2)[1:]
    for size, side in (({"shortest_edge": 48}, 48), ({"height": 40, "width": 40}, 40), (56, 56)):
        folder = build_prompted("clipseg", tmp_path / str(side))
        file = folder / "preprocessor_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "size": size}))
        checkpoint = opened(folder)
        assert checkpoint.preparer()(image).pixels_THWC.shape == (1, side, side, 3)
        assert checkpoint.resizing()(image.shape[:2]) == (side, side)
    file.write_text(json.dumps({"image_processor_type": "ViTImageProcessor"}))
    checkpoint = opened(folder)
    assert checkpoint.resizing()(image.shape[:2]) == (224, 224)


def test_no_training_starts_from_one(clipseg: Path) -> None:
    with pytest.raises(BatchsegError, match="neither trains them nor starts a training"):
        HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(clipseg)))


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    folder = build_prompted("clipseg", tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BatchsegError, match=r"has no tokenizer\.json"):
        opened(folder)


def test_every_word_and_setting_is_in_the_fingerprint(clipseg: Path, tmp_path: Path) -> None:
    one, other = (tmp_path / name for name in ("one", "other"))
    one.mkdir()
    other.mkdir()
    classes = ["background", {"name": "car"}]
    found = [
        opened(clipseg),
        opened(clipseg, prompting={"presence": 0.2}),
        opened(clipseg, prompting={"threshold": 0.3}),
        opened(clipseg, none_below=0.3),
        opened(clipseg, label_file(one, classes)),
        opened(clipseg, label_file(other, classes, prompts=["a {}"])),
        opened(clipseg, classes="background, auto"),
        opened(clipseg, classes="background, car", prompting={"thresholds": {"car": 0.3}}),
    ]
    assert len({each.fingerprint for each in found}) == len(found)
    assert opened(clipseg, prompting={"at_once": 2}).fingerprint == found[0].fingerprint
    assert opened(clipseg, classes="background, car").fingerprint == found[4].fingerprint
