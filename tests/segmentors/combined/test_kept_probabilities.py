"""Probabilities that are kept: against torch's own interpolation and softmax, and read with numpy alone."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from batchseg.config.looks import Tiling
from batchseg.errors import RowFault
from batchseg.images.probability_file import Codes, ProbabilityWriter, open_probabilities, squares_of
from batchseg.images.raster import Area
from batchseg.segmentors.base import Prediction, Scores
from batchseg.segmentors.combined.canvas import Whole
from batchseg.segmentors.combined.codes import decide_codes
from batchseg.segmentors.combined.decide import decide_whole
from batchseg.segmentors.combined.decision import Answer, Decision, Keeping
from batchseg.segmentors.combined.looks import Looks
from batchseg.segmentors.combined.windows import parts_of
from batchseg.segmentors.threshold import Identity

QUANTUM = 1 / 255
NAMES = ("road", "car", "bus", "tree", "sky")


def keeping(kept="full", **more):
    return Decision(classes=5, keeping=Keeping(kept, NAMES), **more)


def logits(seed, *size):
    return 2 * torch.randn(5, *size, generator=torch.Generator().manual_seed(seed))


def softmax_of(maps, size):
    return functional.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0].softmax(0)


def stored(prediction: Prediction) -> tuple[np.ndarray, np.ndarray | None]:
    """By numpy alone, as the README has it."""
    assert prediction.probabilities is not None
    file = np.load(io.BytesIO(prediction.probabilities))
    height, width = file["shape"]
    arrays = {}
    for name in file.files:
        kind, _, place = name.partition("_")
        if place:
            top, left = map(int, place.split("_"))
            chunk = file[name]
            whole = arrays.setdefault(kind, np.zeros((len(chunk), height, width), chunk.dtype))
            whole[:, top : top + chunk.shape[1], left : left + chunk.shape[2]] = chunk
    assert file["names"].tolist() == [*NAMES]
    return arrays["p"], arrays.get("classes")


def again(prediction: Prediction, decision: Decision) -> np.ndarray:
    p, classes = stored(prediction)
    return decide_codes(Codes(p, classes), decision)[0]


def certain(p_CHW: torch.Tensor) -> np.ndarray:
    """Where the best two differ by more than the quantum."""
    first, second = p_CHW.topk(2, dim=0).values
    return (first - second > QUANTUM).numpy()


def agree(ours: np.ndarray, theirs: np.ndarray, sure: np.ndarray) -> None:
    assert (ours == theirs)[sure].all()
    assert (ours == theirs).mean() >= 0.999


@pytest.mark.parametrize("size", [(97, 131), (600, 530)])
@pytest.mark.parametrize("kept", ["full", "top2"])
def test_one_grid_of_logits(size: tuple[int, int], kept: str) -> None:
    maps = logits(1, 24, 33)
    decision = keeping(kept)
    made = decide_whole([Answer(Scores("logits", maps))], size, decision)
    p_CHW = softmax_of(maps, size)
    codes, classes = stored(made)
    assert codes.dtype == np.uint8
    if classes is None:
        assert np.abs(codes / 255 - p_CHW.numpy()).max() <= 1.5 * QUANTUM
        assert (np.abs(codes / 255 - p_CHW.numpy()) <= 0.51 * QUANTUM).mean() > 0.99
        assert (codes.argmax(0) == made.labels_HW).all()
    else:
        best = p_CHW.topk(2, dim=0)
        assert classes.dtype == np.uint8 and (classes[0] == made.labels_HW).all()
        assert ((classes == best.indices.numpy()).all(0) | ~certain(p_CHW)).mean() > 0.99
        assert np.abs(codes / 255 - best.values.numpy()).max() <= 1.5 * QUANTUM
        assert (codes[0] > codes[1]).all()
    agree(again(made, decision), made.labels_HW, certain(p_CHW))
    assert (again(made, decision) == made.labels_HW).all()


def test_probabilities_are_divided_by_their_sum() -> None:
    maps = logits(2, 9, 12).exp()
    made = decide_whole([Answer(Scores("probabilities", maps))], (70, 90), keeping())
    scores = functional.interpolate(maps[None], (70, 90), mode="bilinear", align_corners=False)[0]
    codes, _ = stored(made)
    assert np.abs(codes / 255 - (scores / scores.sum(0)).numpy()).max() <= 1.5 * QUANTUM


@pytest.mark.parametrize("kept", ["full", "top2"])
def test_several_grids_are_the_weighted_sum(kept: str) -> None:
    one, other = logits(3, 16, 20), logits(4, 25, 21)
    decision = keeping(kept, groups=(None, None), weights=(0.25, 0.75))
    answers = [Answer(Scores("logits", one)), Answer(Scores("logits", other), member=1, look=1)]
    made = decide_whole(answers, (150, 210), decision)
    p_CHW = sum(
        weight * functional.interpolate(maps.softmax(0)[None], (150, 210), mode="bilinear")[0]
        for weight, maps in ((0.25, one), (0.75, other))
    )
    codes, classes = stored(made)
    if classes is None:
        assert np.abs(codes / 255 - p_CHW.numpy()).max() <= 1.5 * QUANTUM
    else:
        assert np.abs(codes[0] / 255 - p_CHW.amax(0).numpy()).max() <= 1.5 * QUANTUM
    agree(again(made, keeping(kept)), made.labels_HW, certain(p_CHW))


def test_a_tie_goes_to_the_class_that_was_decided_for() -> None:
    maps = torch.zeros(5, 4, 4)
    made = decide_whole([Answer(Scores("logits", maps))], (8, 8), keeping())
    codes, _ = stored(made)
    assert (codes[0] == 52).all() and (codes[1:] == 51).all()


@pytest.mark.parametrize("kept", ["full", "top2"])
@pytest.mark.parametrize("below", [0.3, 0.5, 0.71])
def test_none_below(kept: str, below: float) -> None:
    maps = logits(5, 24, 33)
    answers = [Answer(Scores("logits", maps))]
    plain = decide_whole(answers, (130, 140), keeping(kept))
    strict = decide_whole(answers, (130, 140), keeping(kept, none_below=below))
    top = softmax_of(maps, (130, 140)).amax(0).numpy()
    sure = np.abs(top - below) > 1.5 * QUANTUM
    assert 0 < (strict.labels_HW == 5).mean() < 1
    found = again(plain, keeping(kept, none_below=below))
    assert (found == strict.labels_HW)[sure].all()
    # pixels that are void keep their probabilities
    assert stored(strict)[0].tobytes() == stored(plain)[0].tobytes()
    assert (again(strict, keeping(kept)) == plain.labels_HW).all()


def test_merging_adds() -> None:
    maps, group = logits(6, 24, 33), (0, 1, 1, 2, 2)
    answers = [Answer(Scores("logits", maps))]
    plain = decide_whole(answers, (130, 140), keeping())
    p_CHW = softmax_of(maps, (130, 140))
    summed = torch.stack([p_CHW[0], p_CHW[1] + p_CHW[2], p_CHW[3] + p_CHW[4]])
    found = again(plain, Decision(classes=3, groups=(group,)))
    first, second = summed.topk(2, dim=0).values
    assert (found == summed.argmax(0).numpy())[(first - second > 5 * QUANTUM).numpy()].all()
    assert (found == summed.argmax(0).numpy()).mean() > 0.98


@pytest.mark.parametrize("kept", ["full", "top2"])
def test_a_threshold_is_exact_beyond_the_quantum(kept: str) -> None:
    maps = logits(7, 20, 20)[:2]
    names = Keeping(kept, NAMES)
    plain = decide_whole([Answer(Scores("logits", maps))], (90, 90), Decision(2, keeping=names))
    strict = Decision(2, factors=(0.8, 1 - 0.8), keeping=names)
    expected = decide_whole([Answer(Scores("logits", maps))], (90, 90), strict)
    sure = (softmax_of(maps, (90, 90))[1] - 0.8).abs().numpy() > 1.5 * QUANTUM
    for made in (plain, expected):
        assert (again(made, strict) == expected.labels_HW)[sure].all()
    assert 0 < expected.labels_HW.mean() < plain.labels_HW.mean()


def test_no_data_is_zero_and_void() -> None:
    nodata = np.zeros((40, 50), bool)
    nodata[3:9, 4:30] = True
    canvas = Whole(Area(0, 0, 40, 50), keeping(), nodata_HW=nodata)
    canvas.add(0, Answer(Scores("logits", logits(8, 10, 10))))
    codes, _ = stored(canvas.prediction())
    assert ((codes == 0).all(0) == nodata).all()
    labels, found = decide_codes(Codes(codes), keeping())
    assert (found == nodata).all() and ((labels == 5) == nodata).all()


def mosaic(area: Area, hw: tuple[int, int], tiling: Tiling, decision: Decision) -> Prediction:
    """Of a rectangle of a picture, from answers that depend on where a window lies."""
    looks = Looks([Identity()], [Identity()], decision, tiling)
    tops, lefts = looks._starts(hw, area)
    canvas = looks.canvas(hw, area)
    for number, (top, left) in enumerate((top, left) for top in tops for left in lefts):
        canvas.add(number, Answer(Scores("logits", logits(1000 * (top + 500) + left + 500, 8, 8))))
    assert canvas.is_complete
    return canvas.prediction()


@pytest.mark.parametrize("kept", ["full", "top2"])
def test_windows_and_parts_keep_the_same(kept: str, tmp_path: Path) -> None:
    hw, decision = (530, 610), keeping(kept)
    whole = mosaic(Area(0, 0, *hw), hw, Tiling(size=128, overlap=0.25), decision)
    codes, classes = stored(whole)
    assert (again(whole, decision) == whole.labels_HW).mean() == 1
    tiling = Tiling(size=128, overlap=0.25, part=200)
    for part in parts_of(hw, tiling):
        made = mosaic(part, hw, tiling, decision)
        assert made.probabilities is not None
        with open_probabilities(io.BytesIO(made.probabilities)) as file:
            for square in squares_of(part):
                rows = slice(square.top, square.top + square.height)
                columns = slice(square.left, square.left + square.width)
                found = file.read(square)
                assert np.array_equal(found.p_KHW, codes[:, rows, columns])
                if classes is not None:
                    assert np.array_equal(found.classes_KHW, classes[:, rows, columns])


def test_windows_keep_the_blended_probabilities() -> None:
    hw = (96, 96)
    decision = keeping()
    made = mosaic(Area(0, 0, *hw), hw, Tiling(size=64, overlap=0.5, blend="constant"), decision)
    total, weight = torch.zeros(5, *hw), torch.zeros(hw)
    for top in (0, 32):
        for left in (0, 32):
            maps = logits(1000 * (top + 500) + left + 500, 8, 8).softmax(0)
            total[:, top : top + 64, left : left + 64] += functional.interpolate(
                maps[None], (64, 64), mode="bilinear", align_corners=False
            )[0]
            weight[top : top + 64, left : left + 64] += 1
    p_CHW = total / weight
    codes, _ = stored(made)
    assert np.abs(codes / 255 - p_CHW.numpy()).max() <= 1.5 * QUANTUM
    agree(again(made, decision), p_CHW.argmax(0).numpy(), certain(p_CHW))


def test_label_maps_have_none() -> None:
    labels = Answer(Scores("labels", np.zeros((8, 8), np.uint8)))
    with pytest.raises(ValueError, match=r"have no probabilities; leave output\.probabilities"):
        decide_whole([labels], (8, 8), keeping())
    canvas = Looks([Identity()], [Identity()], keeping(), Tiling(size=8)).canvas((8, 8))
    with pytest.raises(ValueError, match="have no probabilities"):
        canvas.add(0, labels)


@pytest.mark.parametrize("kept", ["full", "top2"])
def test_a_label_map_among_the_members_may_abstain_in_some_windows(kept: str) -> None:
    decision = keeping(kept, groups=(None, None), weights=(0.3, 0.7))
    canvas = Looks([Identity()] * 2, [Identity()] * 2, decision, Tiling(size=16)).canvas((16, 28))
    for number in (0, 1):
        labels = np.full((16, 16), 2, np.uint8)
        labels[:, 13:] = 5 if number else 2
        canvas.add(number, Answer(Scores("logits", logits(number, 16, 16))))
        canvas.add(number, Answer(Scores("labels", labels), member=1, look=1))
    made = canvas.prediction()
    p_CHW = logits(1, 16, 16).softmax(0)[:, :, 4:]
    assert (made.labels_HW[:, :13] == 2).all() and (made.labels_HW[:, 25:] == 5).all()
    codes, classes = stored(made)
    alone = codes[:, :, 16:]
    if classes is None:
        assert (
            np.abs(alone[:5, :, :9] / 255 - 0.3 * p_CHW[:, :, :9].numpy())[[0, 1, 3, 4]].max()
            <= 1.5 * QUANTUM
        )
        assert (alone[5, :, 9:] == 178).all() and len(codes) == 6
    assert (again(made, decision) == made.labels_HW).all()


def test_label_maps_alone_may_abstain_in_some_windows() -> None:
    canvas = Looks([Identity()], [Identity()], Decision(5), Tiling(size=16)).canvas((16, 28))
    labels = np.zeros((16, 16), np.uint8)
    canvas.add(0, Answer(Scores("labels", labels)))
    canvas.add(1, Answer(Scores("labels", labels + 5)))
    # in the corners the weights of both windows are the least there is
    assert (canvas.prediction().labels_HW[4:12] == np.repeat([0, 5], [14, 14])).all()


def test_many_classes_and_their_bytes() -> None:
    names = tuple(map(str, range(300)))
    maps = torch.randn(300, 6, 6, generator=torch.Generator().manual_seed(0))
    decision = Decision(300, keeping=Keeping("top2", names))
    files = [decide_whole([Answer(Scores("logits", maps))], (20, 30), decision) for _ in range(2)]
    assert files[0].probabilities == files[1].probabilities
    file = np.load(io.BytesIO(files[0].probabilities))
    assert file["classes_0_0"].dtype == np.uint16 and file["p_0_0"].shape == (2, 20, 30)
    assert (file["classes_0_0"][0] == files[0].labels_HW).all()


def written(codes: np.ndarray, square: Area) -> bytes:
    data = io.BytesIO()
    writer = ProbabilityWriter(data, (10, 10), NAMES)
    writer.write(square, Codes(codes))
    writer.close()
    return data.getvalue()


def damaged() -> dict[str, bytes]:
    whole = written(np.ones((5, 10, 10), np.uint8), Area(0, 0, 10, 10))
    turned = bytearray(whole)
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        member = file.getinfo("p_0_0.npy")
        middle = member.header_offset + 30 + len("p_0_0.npy") + member.compress_size // 2
    turned[middle] ^= 0xFF
    last = whole.rindex(b"PK\1\2")  # of the directory
    flagged, packed = bytearray(whole), bytearray(whole)
    flagged[last + 8] ^= 1
    packed[last + 10] ^= 1
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    return {
        "nothing": b"",
        "text": b"no zip",
        "an array": array.getvalue(),
        "half": whole[: len(whole) // 2],
        "turned": bytes(turned),
        "encrypted, it says": bytes(flagged),
        "packed in a way that is unknown": bytes(packed),
        "smaller": written(np.ones((5, 9, 10), np.uint8), Area(0, 0, 9, 10)),
        "elsewhere": written(np.ones((5, 10, 10), np.uint8), Area(512, 0, 10, 10)),
    }


@pytest.mark.parametrize("name", damaged())
def test_a_damaged_file_is_one_sentence(name: str) -> None:
    with (
        pytest.raises(RowFault, match="it is damaged, or no file of probabilities"),
        open_probabilities(io.BytesIO(damaged()[name])) as file,
    ):
        file.read(Area(0, 0, 10, 10))
