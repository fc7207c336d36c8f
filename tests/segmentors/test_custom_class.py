"""A class of the user's own: by its file, with what it may have besides, and what is said when it fails."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchseg.config.load import validate_segmentor
from batchseg.config.segmentor import infer_segmentor
from batchseg.errors import ModelError, RowFault
from batchseg.segmentors.combined.decision import Decision
from batchseg.segmentors.custom import CustomCheckpoint
from batchseg.segmentors.registry import open_checkpoint
from batchseg.stages.item import Item
from batchseg.stages.prepare import prepare
from batchseg.stages.segment import Batching, Segment

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
WHOLE = """
import numpy as np
from beside import LABELS

class Mine:
    labels = LABELS
    def __init__(self, device, weights=None, threads=None):
        self.threads = threads
    def segment(self, images):
        return [np.full(image.shape[:2], self.threads or 0) for image in images]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs."""
    (tmp_path / "beside.py").write_text("LABELS = ('background', 'cell', 'dirt')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    return tmp_path


def opened(code: str, name: str = "my-model.py", **options: Any) -> CustomCheckpoint:
    Path(name).write_text(code)
    config = validate_segmentor({**infer_segmentor(f"{name}:Mine"), "options": options})
    checkpoint = open_checkpoint(config)
    assert isinstance(checkpoint, CustomCheckpoint)
    return checkpoint


def class_of(*lines: str) -> str:
    start = ["import numpy as np", "class Mine:", "    labels = ('background', 'cell')"]
    return "\n".join([*start, "    def __init__(self, device): ...", *(f"    {line}" for line in lines)])


def out(checkpoint: CustomCheckpoint, image: np.ndarray = IMAGE) -> Item:
    """One image through the stages."""
    item = Item({"id": "a"}, image_HWC=image, size_hw=image.shape[:2])
    decision = Decision(checkpoint.label_map.num_classes)
    stage = Segment([checkpoint.load("cpu", "fp32", 2)], decision, Batching(4))
    (done,) = stage(prepare(checkpoint.preparer())(iter([item])))
    return done


def fault(*lines: str) -> RowFault:
    found = out(opened(class_of(*lines))).fault
    assert found is not None
    return found


def test_a_file_is_named_by_its_path_and_found_again_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = pickle.loads(pickle.dumps(opened(WHOLE)))
    assert checkpoint.label_map.names == ("background", "cell", "dirt")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert out(checkpoint).fault is None
    # on another node the driver's folder is missing, and the file lies in the folder of the job
    (folder / "my-model.py").rename(folder / "elsewhere" / "my-model.py")
    monkeypatch.syspath_prepend(str(folder / "elsewhere"))
    assert out(checkpoint).fault is None


def test_its_fingerprint_is_of_its_text_wherever_it_lies(folder: Path) -> None:
    first = opened(WHOLE).fingerprint
    (folder / "deep").mkdir()
    assert opened(WHOLE, "deep/my-model.py").fingerprint == first
    assert opened(WHOLE, str(folder / "my-model.py")).fingerprint == first
    assert opened(WHOLE + "\n# changed", "my-model.py").fingerprint != first
    (folder / "weights").write_bytes(b"first")
    before = opened(WHOLE, weights="weights").fingerprint
    (folder / "weights").write_bytes(b"second")
    assert len({first, before, opened(WHOLE, weights="weights").fingerprint}) == 3


def test_a_file_that_is_missing_or_broken_is_one_sentence() -> None:
    for model, sentence in (
        ("gone.py:Mine", "there is no file"),
        ("my-model.py:Other", "has no class Other"),
    ):
        Path("my-model.py").write_text(WHOLE)
        with pytest.raises(ModelError, match=sentence):
            open_checkpoint(validate_segmentor(infer_segmentor(model)))
    for code, sentence in (
        ("import missing_thing", "No module named 'missing_thing'"),
        ("x = [", "SyntaxError"),
    ):
        with pytest.raises(ModelError, match=sentence):
            opened(code)


def test_it_is_told_its_threads_where_it_asks() -> None:
    (prediction,) = [out(opened(WHOLE)).prediction]
    assert prediction is not None and (prediction.labels_HW == 2).all()
    takes_all = class_of("def __init__(self, device, **more): assert not more", "def segment(self, images):")
    assert (
        out(opened(takes_all + "\n        return [np.zeros(image.shape[:2], int) for image in images]")).fault
        is None
    )


@pytest.mark.parametrize(
    "lines",
    [
        "fingerprint = {!r}",
        "@staticmethod\n    def fingerprint(weights): return {!r} + weights",
        "@classmethod\n    def fingerprint(cls, **options): return {!r}",
        "def fingerprint(self): return {!r}",
        "@property\n    def fingerprint(self): return {!r}",
    ],
)
def test_it_may_say_itself_what_it_is(lines: str, folder: Path) -> None:
    def found(value: str, more: str = "") -> str:
        return opened(WHOLE + "\n    " + lines.format(value) + more, weights="weights").fingerprint

    (folder / "weights").write_bytes(b"first")
    first = found("May")
    (folder / "weights").write_bytes(b"second")
    assert found("May", "\n# changed") == first
    assert found("June") != first


@pytest.mark.parametrize("head", ["@staticmethod\n    def prepare(image):", "def prepare(self, image):"])
@pytest.mark.parametrize("size", [(2, 3), (8, 12), (1, 1)])
def test_it_may_prepare_images_itself(head: str, size: tuple[int, int]) -> None:
    code = class_of(
        f"{head}",
        f"    return np.full((*{size}, 5), image[0, 0, 0] + 7, np.uint8)",
        "def segment(self, images):",
        f"    assert all(image.shape == (*{size}, 5) and image.max() == 7 for image in images)",
        f"    return [np.arange({size[0] * size[1]}).reshape({size}) % 2 for _ in images]",
    )
    checkpoint = opened(code)
    pickle.loads(pickle.dumps(checkpoint.preparer()))
    done = out(checkpoint)
    assert done.fault is None and done.prediction is not None
    labels = np.arange(size[0] * size[1]).reshape(size) % 2
    rows, columns = (
        [int((i + 0.5) * few / many) for i in range(many)] for few, many in zip(size, (4, 6), strict=True)
    )
    assert done.prediction.labels_HW.tolist() == labels[rows][:, columns].tolist()


@pytest.mark.parametrize("answer", ["image / 2", "image[:, :, 0]", "None", "image[:0]"])
def test_what_it_prepares_must_be_an_image(answer: str) -> None:
    sentence = str(
        fault("@staticmethod", "def prepare(image):", f"    return {answer}", "def segment(self, x): ...")
    )
    assert "my-model.py:Mine: prepare must return uint8 [h, w, C], not" in sentence


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("[]", "segment must return 1 label maps, one an image, not 0"),
        ("None", "segment must return 1 label maps, one an image, not NoneType"),
        ("[np.zeros((6, 4), int)]", "a label map of shape (6, 4) for an image of (4, 6)"),
        ("[np.zeros((4, 6))]", "a label map must be integer [H, W], and scores must be floats [C, h, w]"),
        ("[np.full((4, 6), 9)]", "class ids must lie in 0 .. 1, and there are 9 .. 9"),
    ],
)
def test_a_wrong_answer_names_the_class(answer: str, words: str) -> None:
    assert f"my-model.py:Mine: {words}" in str(fault("def segment(self, images):", f"    return {answer}"))


def test_a_bug_is_told_with_its_line_and_its_traceback() -> None:
    found = fault(
        "def segment(self, images):",
        "    return self._one(images[0])",
        "def _one(self, image):",
        "    return np.reshape(image, (5, 5))",
    )
    assert "ValueError: cannot reshape array" in str(found)
    assert str(found).endswith("(my-model.py:8)")  # not the line of numpy that raised it
    assert found.traceback is not None
    lines = found.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith('my-model.py", line 6, in segment')
    assert "batchseg" not in found.traceback
    assert pickle.loads(pickle.dumps(found)).traceback == found.traceback


def test_code_that_ends_its_process_is_one_sentence() -> None:
    """Its exit code would pass for batchseg's own, and a worker that ends is started anew without end."""
    with pytest.raises(ModelError, match=r"my-model.py:Mine: cannot import my-model.py: .*sys.exit\(3\)"):
        opened("import sys\nsys.exit(3)")
    code = class_of("def segment(self, images): ...").replace("device): ...", "device): raise SystemExit(2)")
    with pytest.raises(ModelError, match=r"could not be made: .*sys.exit\(2\) was called \(my-model.py:4\)"):
        opened(code).load("cpu", "fp32")
    with pytest.raises(ModelError, match=r"its fingerprint failed: .*sys.exit\(5\)"):
        opened(
            class_of("def segment(self, x): ...", "@staticmethod", "def fingerprint(): raise SystemExit(5)")
        )
    found = fault("def segment(self, images): raise SystemExit(4)")
    assert found.status == "model_failed" and "sys.exit(4) was called (my-model.py:5)" in str(found)
    assert found.traceback is not None and "batchseg" not in found.traceback
    found = fault("@staticmethod", "def prepare(x): raise SystemExit(1)", "def segment(self, x): ...")
    assert found.status == "model_failed" and "sys.exit(1) was called" in str(found)


def test_a_text_of_another_encoding_counts_too(folder: Path) -> None:
    def found(level: int) -> str:
        code = f"# coding: latin-1\n# Schwelle für Zellen\nLEVEL = {level}\n" + class_of("segment = 1")
        code = code.replace("segment = 1", "def segment(self, images): ...")
        (folder / "my-model.py").write_bytes(code.encode("latin-1"))
        config = validate_segmentor({**infer_segmentor("my-model.py:Mine")})
        return open_checkpoint(config).fingerprint

    assert found(1) == found(1)
    assert found(1) != found(2)


@pytest.mark.parametrize(
    "labels",
    ["'ab'", "5", "[1, 2]", "{'cell': 1, 'background': 0}", "['a', None]", "['a', ' ']", "print", "{'a'}"],
)
def test_labels_that_are_no_list_of_names_are_one_sentence(labels: str) -> None:
    code = class_of("def segment(self, images): ...").replace("('background', 'cell')", labels)
    with pytest.raises(ModelError, match=r"my-model.py:Mine: `labels` must list the names of the classes"):
        opened(code)
