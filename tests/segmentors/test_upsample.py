"""bilinear_argmax against torch's own interpolate and argmax."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from batchseg.segmentors.network.upsample import bilinear_argmax, bilinear_unsure
from tests.segmentors.largest_tensor import LargestTensor

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
SIZES = {  # cells -> pixels
    "by whole factors": ((24, 24), (96, 144)),
    "by fractions": ((17, 23), (100, 131)),
    "a little": ((64, 64), (91, 100)),
    "a lot": ((3, 2), (150, 301)),
    "up and down": ((100, 12), (70, 200)),
    "down": ((90, 110), (70, 81)),
    "to the same": ((70, 80), (70, 80)),
    "from one cell": ((1, 1), (80, 90)),
    "from one row": ((1, 20), (80, 131)),
    "from one column": ((20, 1), (200, 80)),
    "to one row": ((20, 30), (1, 5000)),
    "to one pixel": ((4, 4), (1, 1)),
}


def interpolated(scores_CHW: Tensor, size: tuple[int, int]) -> Tensor:
    scores = scores_CHW[None].float().contiguous()
    return functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)[0]


def noise(classes: int, cells: tuple[int, int]) -> Tensor:
    return torch.randn(classes, *cells, generator=torch.Generator().manual_seed(classes))


def smooth(classes: int, cells: tuple[int, int]) -> Tensor:
    return functional.interpolate(noise(classes, (3, 4))[None], size=cells, mode="bicubic")[0].contiguous()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make", [noise, smooth])
@pytest.mark.parametrize("classes", [1, 2, 19, 255, 300])
@pytest.mark.parametrize(("cells", "size"), SIZES.values(), ids=SIZES)
def test_equals_interpolate_and_argmax(make, classes, cells, size, device):
    scores = make(classes, cells).to(device)
    labels, full = bilinear_argmax(scores, size).long(), interpolated(scores, size)
    # a sum of four products rounds as the processor likes: within that, two classes are as good as tied
    rounding = 4 * torch.finfo(torch.float32).eps * scores.abs().max()
    best, differ = full.amax(0), labels != full.argmax(0)
    assert ((best - full.gather(0, labels[None])[0])[differ] <= rounding).all()
    assert differ.sum() <= 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("classes", [2, 5, 150])
@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_gives_ties_to_the_lowest_class(classes, factor, device):
    # powers of two: every weight and every score is exact, so that equal scores are equal bit for bit
    scores = noise(classes, (23, 25)).mul(2).round().to(device)
    size = (23 * factor, 25 * factor)
    assert torch.equal(bilinear_argmax(scores, size).long(), interpolated(scores, size).argmax(0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("make", [noise, smooth])
def test_computes_other_types_in_float32(make, dtype):
    scores = make(19, (17, 23)).to(dtype)
    expected = interpolated(scores.float(), (100, 131)).argmax(0)
    assert torch.equal(bilinear_argmax(scores, (100, 131)).long(), expected)


@pytest.mark.parametrize("size", [(100, 131), (10, 9)])
def test_the_layout_in_memory_does_not_matter(size):
    scores = smooth(19, (30, 40))
    channels_last = scores.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    cut_out = functional.pad(scores, (3, 1, 2, 5))[:, 2:-5, 3:-1]
    expected = bilinear_argmax(scores, size)
    assert torch.equal(bilinear_argmax(channels_last, size), expected)
    assert torch.equal(bilinear_argmax(cut_out, size), expected)


@pytest.mark.parametrize(("classes", "dtype"), [(255, torch.uint8), (256, torch.int32)])
@pytest.mark.parametrize("size", [(90, 90), (3, 3)])
def test_labels_have_the_smallest_type_that_leaves_void_free(classes, dtype, size):
    labels = bilinear_argmax(noise(classes, (4, 4)), size)
    assert labels.dtype == dtype
    assert labels.shape == size


@pytest.mark.parametrize(("cells", "size"), SIZES.values(), ids=SIZES)
def test_nan_wins_where_interpolate_spreads_it(cells, size):
    scores = noise(7, cells)
    scores.view(-1)[::5] = torch.nan
    assert torch.equal(bilinear_argmax(scores, size).long(), interpolated(scores, size).argmax(0))


def test_a_class_switched_off_with_minus_infinity_never_appears():
    scores = noise(5, (16, 16))
    scores[2] = -torch.inf
    expected = interpolated(scores.nan_to_num(), (128, 128)).argmax(0)
    assert torch.equal(bilinear_argmax(scores, (128, 128)).long(), expected)


def test_plus_infinity_is_the_largest_score():
    scores = noise(5, (16, 16))
    scores[3, 4:9, 4:9] = torch.inf
    expected = interpolated(scores.nan_to_num(), (128, 128)).argmax(0)
    assert torch.equal(bilinear_argmax(scores, (128, 128)).long(), expected)


scores_and_sizes = st.tuples(
    st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.integers(1, 150), st.integers(1, 150)
).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(-4, 4, width=32), min_size=n[0] * n[1] * n[2], max_size=n[0] * n[1] * n[2]).map(
            lambda values: torch.tensor(values, dtype=torch.float32).view(n[:3])
        ),
        st.just(n[3:]),
    )
)


@given(scores_and_sizes)
@settings(deadline=None)
def test_the_label_is_best_up_to_rounding(case):
    scores, size = case
    direct = interpolated(scores, size)
    chosen = direct.gather(0, bilinear_argmax(scores, size)[None].long())[0]
    assert bool((chosen >= direct.amax(0) - 4e-6).all())


@pytest.mark.parametrize("make", [noise, smooth])
def test_no_intermediate_is_much_larger_than_the_labels(make):
    scores = make(150, (32, 32))
    with LargestTensor() as largest:
        bilinear_argmax(scores, (1000, 1000))
    assert largest.bytes <= 8 * 2**20  # all 150 maps at full size would take 600 MB


def softmax(scores: Tensor) -> Tensor:
    return scores.softmax(0)


def share(scores: Tensor) -> Tensor:
    return scores / scores.sum(0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("below", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("classes", [1, 2, 19])
@pytest.mark.parametrize(("cells", "size"), SIZES.values(), ids=SIZES)
def test_unsure_equals_interpolate_and_softmax(classes, cells, size, below, device):
    make = noise if below == 0.6 else smooth
    scores = make(classes, cells).mul(4).to(device)
    for values, as_probabilities in ((scores, softmax), (scores.exp(), share)):
        top = as_probabilities(interpolated(values, size)).amax(0)
        differ = bilinear_unsure(values, size, below, as_probabilities) != (top < below)
        assert not (differ & ((top - below).abs() > 1e-5)).any()


def test_only_what_may_be_unsure_is_interpolated():
    scores = torch.full((150, 64, 64), -10.0)
    scores[3] = 10
    scores[3, 30, 30] = -10
    seen = 0

    def counted(values: Tensor) -> Tensor:
        nonlocal seen
        seen += values[0].numel()
        return values.softmax(0)

    assert bilinear_unsure(scores, (640, 640), 0.5, counted).any()
    assert seen <= 64 * 64 + 20 * 20 + 40
