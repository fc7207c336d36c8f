"""What a checkpoint's own files say: its classes, the images it reads, and how its truths were numbered."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

from batchseg.config.train import MULTIPLE
from batchseg.errors import ModelError
from batchseg.labels.label_map import LabelMap, is_background
from batchseg.segmentors.huggingface.families import OWN, PATCHES, UNIVERSAL, VIDEO

# of a config.json; `temperature` alone means how text is generated to transformers
TEMPERATURE = "calibration_temperature"
CHANNELS = 3  # of RGB, which a config.json need not say
_SHOWN = 5
_USUAL_STRIDE = 32


def own_labels(content: dict[str, Any], name: str) -> LabelMap:
    """The classes a checkpoint's config.json names. Raises ModelError where it does not, or not clearly.

    A network of one output (a sigmoid) tells two classes apart: the one it is named after, and background.
    """
    try:
        names = _output_names(content)
    except (AttributeError, TypeError, ValueError) as exc:
        raise ModelError(f"{name}: its config.json does not map class ids to names: {exc}") from exc
    if len(names) > 1:
        return LabelMap.from_names(names)
    if content.get("model_type") in UNIVERSAL:
        raise ModelError(
            f"{name} has one class, {names[0]!r}, which every pixel would be: a semantic map of a "
            f"{content['model_type']} model has no pixels of no object; train it with background as a class"
        )
    if is_background(names[0]):
        raise ModelError(
            f"{name}: its one class is called {names[0]!r}, as the pixels that it does not take are; name it "
            "after what it finds, as id2label in its config.json"
        )
    return LabelMap.from_names(("background", *names))


def _output_names(content: dict[str, Any]) -> tuple[str, ...]:
    """One name an output of the network, made unique: COCO's maps, for one, hold several `N/A`."""
    given = content.get("id2label") or {}
    by_id = {int(key): str(name) for key, name in given.items()}
    # transformers leaves its default, two, unwritten
    count = int(content.get("num_labels") or len(by_id) or 2)
    if by_id and (sorted(by_id) != list(range(count)) or len(given) != count):
        ids = ", ".join(str(key) for key in [*given][:_SHOWN]) + (" ..." if len(given) > _SHOWN else "")
        raise ValueError(
            f"id2label has the ids {ids}, and the {count} outputs of the network are 0 to {count - 1}; give "
            "each output its name, in the order the model was trained in"
        )
    names = [by_id.get(index, f"LABEL_{index}") for index in range(count)]
    times = Counter(names)
    return tuple(name if times[name] == 1 else f"{name} ({index})" for index, name in enumerate(names))


def read_temperature(content: dict[str, Any], name: str) -> float:
    """What logits are divided by before they become probabilities, as a training fitted it; 1 where none did.

    Raises ModelError where it is no number above 0.
    """
    found = content.get(TEMPERATURE, 1.0)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        raise ModelError(
            f"{name}: {TEMPERATURE} in its config.json must be a number above 0, not {found!r}; leave it out "
            "where logits are to stay as they are"
        )
    return float(found)


def read_stride(content: dict[str, Any]) -> int:
    """Pixels of the input for one cell of the coarsest features, by a checkpoint's config.json.

    32 where it does not say, as in pyramids such as those of Swin and ResNet, which halve their input five
    times.
    """
    family = content.get("model_type")
    if family in OWN:
        return MULTIPLE
    strides, whole = content.get("strides"), content.get("output_stride")
    if family == "segformer" and isinstance(strides, list) and all(map(_count, strides)):
        return math.prod(strides)
    if found := _count(whole):
        return found
    inner = content.get("backbone_config")
    patch = content.get("patch_size") or (inner.get("patch_size") if isinstance(inner, dict) else None)
    return _count(patch) * PATCHES.get(str(family), 0) or _USUAL_STRIDE


def _count(value: Any) -> int:
    """The value where it is a whole number above 0, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def input_channels(content: dict[str, Any], name: str) -> int:
    """How many channels the images have that the network reads. Raises ModelError where that is no number.

    A video processor of the library reads three only.
    """
    backbone = content.get("backbone_config")
    found = (backbone if isinstance(backbone, dict) else content).get("num_channels", CHANNELS)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ModelError(f"{name}: num_channels in its config.json must be a whole number, not {found!r}")
    if found != CHANNELS and content.get("model_type") in VIDEO:
        raise ModelError(
            f"{name} reads frames of {found} channels (num_channels in its config.json), and the processor "
            f"of {content['model_type']} makes them of {CHANNELS}, RGB"
        )
    return found


def wrong_normalising(name: str, channels: int, found: str) -> str:
    """What to say where the processor does not normalise as many channels as the network reads."""
    return (
        f"{name} reads images of {channels} channels (num_channels in its config.json), and its "
        f"preprocessor_config.json {found}; put image_mean and image_std of {channels} values each there, "
        "those that it was trained with, or do_normalize: false"
    )


def require_segmentation(content: dict[str, Any], name: str) -> None:
    """Raise ModelError for a model of a family that segments, but with another head."""
    found = [str(each) for each in content.get("architectures") or []]
    if found and not any("Segment" in each for each in found):
        raise ModelError(
            f"{name} is a {found[0]}, which does not segment; fine-tune it as a segmentation model first"
        )


def with_reduced_truth(label_map: LabelMap) -> LabelMap:
    """The label map of a data set whose ids are one too high, where 0 means that a pixel has no class."""
    classes = {index + 1: index for index in range(label_map.num_classes)}
    return replace(label_map, remap={0: label_map.ignore_index, **classes})


def reduced_note(label_map: LabelMap, name: str) -> str:
    """What a person must know who has truths for such a model."""
    return (
        f"{name}: its image processor says do_reduce_labels, so truth id 0 counts nowhere, and id 1 is "
        f"{label_map.names[0]!r}; a label map of your own (--labels) reads ids as it says"
    )
