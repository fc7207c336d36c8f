"""several_argmax and its kin against the sum of torch's own interpolations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from batchseg.segmentors.network import several
from batchseg.segmentors.network.several import several_argmax, several_at, several_below
from tests.segmentors.largest_tensor import LargestTensor

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
SIZE = (91, 130)
EPS = torch.finfo(torch.float32).eps


@pytest.fixture(autouse=True, scope="module")
def however_few():
    """What is compared here would else be so little that everything is interpolated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(several, "_FEW", 0)
        yield


def interpolated_sum(grids: list[Tensor], size: tuple[int, int]) -> Tensor:
    return sum(
        functional.interpolate(grid[None].float(), size=size, mode="bilinear", align_corners=False)[0]
        for grid in grids
    )


def make(kind: str, classes: int, cells: tuple[int, int], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(classes, *cells, generator=generator)
    coarse = torch.randn(1, classes, 3, 4, generator=torch.Generator().manual_seed(classes))
    smooth = 4 * functional.interpolate(coarse, size=cells, mode="bicubic")[0]
    switched_off, infinite = noise.clone(), noise.clone()
    switched_off[seed % classes] = -torch.inf
    infinite[:, cells[0] // 2, cells[1] // 2 :] = torch.inf
    return {
        "noise": noise,
        "smooth": smooth + 0.2 * noise,
        "probabilities": (smooth + 0.2 * noise).softmax(0),
        "ties": noise.round(),
        "constant maps": torch.where(torch.arange(classes)[:, None, None] % 2 == 0, 0.3, noise),
        "switched off": switched_off,
        "infinite": infinite,
    }[kind]


KINDS = ["noise", "smooth", "probabilities", "ties", "constant maps", "switched off", "infinite"]


def assert_best(labels: Tensor, grids: list[Tensor], size: tuple[int, int]) -> None:
    """The labels are those of the full sum, but for classes that differ by the rounding of its terms."""
    grids = [grid.nan_to_num(nan=torch.nan) for grid in grids]
    full, magnitude = interpolated_sum(grids, size), interpolated_sum([grid.abs() for grid in grids], size)
    chosen, best = labels.long()[None], full.argmax(0, keepdim=True)
    lost = full.gather(0, best) - full.gather(0, chosen)
    rounding = 8 * EPS * torch.maximum(magnitude.gather(0, best), magnitude.gather(0, chosen))
    assert ((chosen == best) | (lost <= rounding)).all()


cells = st.tuples(st.integers(1, 50), st.integers(1, 50))


@given(
    st.lists(cells, min_size=2, max_size=5, unique=True),
    st.integers(2, 40),
    st.sampled_from(KINDS),
    st.integers(0, 2**31),
    st.tuples(st.integers(1, 120), st.integers(1, 120)),
)
@settings(deadline=None, max_examples=1000)
def test_equals_the_argmax_of_the_sum(shapes, classes, kind, seed, size):
    grids = [make(kind, classes, shape, seed + index) for index, shape in enumerate(shapes)]
    labels = several_argmax(grids, size)
    assert labels.dtype == torch.uint8
    assert labels.shape == size
    assert_best(labels, grids, size)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [1, 2, 150, 255, 256])
def test_any_number_of_classes(classes, kind, device):
    grids = [make(kind, classes, shape, classes).to(device) for shape in ((20, 31), (13, 17), (40, 9))]
    labels = several_argmax(grids, SIZE)
    assert labels.device == grids[0].device
    assert labels.dtype == (torch.uint8 if classes <= 255 else torch.int32)
    assert_best(labels, grids, SIZE)


@pytest.mark.parametrize("factors", [(2, 4), (4, 8), (16, 8), (4, 16, 2)])
def test_gives_ties_to_the_lowest_class(factors):
    # powers of two: every weight and every sum is exact, so that equal sums are equal bit for bit
    grids = [make("ties", 5, (128 // factor, 96 // factor), factor) for factor in factors]
    expected = interpolated_sum(grids, (128, 96)).argmax(0)
    assert torch.equal(several_argmax(grids, (128, 96)).long(), expected)


@pytest.mark.parametrize("size", [SIZE, (10, 9)])
def test_nan_wins_where_interpolate_spreads_it(size):
    grids = [make("noise", 7, shape, 1) for shape in ((12, 14), (9, 30))]
    grids[1].view(-1)[::17] = torch.nan
    assert torch.equal(several_argmax(grids, size).long(), interpolated_sum(grids, size).argmax(0))


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_argmax_where_everything_is_interpolated(kind, monkeypatch):
    monkeypatch.setattr(several, "_FEW", 1 << 21)
    grids = [make(kind, 7, shape, 1) for shape in ((12, 14), (9, 30))]
    assert_best(several_argmax(grids, SIZE), grids, SIZE)


@pytest.mark.parametrize("count", [1, 3])
def test_grids_may_have_one_shape(count):
    grids = [make("smooth", 7, (12, 14), seed) for seed in range(count)]
    assert_best(several_argmax(grids, SIZE), grids, SIZE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_computed_in_float32(dtype):
    grids = [make("smooth", 19, shape, 1).to(dtype) for shape in ((17, 23), (30, 20))]
    assert_best(several_argmax(grids, SIZE), [grid.float() for grid in grids], SIZE)


def test_the_layout_in_memory_does_not_matter():
    grids = [make("smooth", 19, shape, 1) for shape in ((17, 23), (30, 20))]
    last = [grid.permute(1, 2, 0).contiguous().permute(2, 0, 1) for grid in grids]
    cut = [functional.pad(grid, (3, 1, 2, 5))[:, 2:-5, 3:-1] for grid in grids]
    assert torch.equal(several_argmax(last, SIZE), several_argmax(grids, SIZE))
    assert torch.equal(several_argmax(cut, SIZE), several_argmax(grids, SIZE))


@pytest.mark.parametrize("kind", ["noise", "smooth"])
def test_no_intermediate_is_much_larger_than_the_labels(kind):
    grids = [make(kind, 150, shape, 1) for shape in ((32, 32), (24, 24))]
    with LargestTensor() as largest:
        several_argmax(grids, (400, 400))
    assert largest.bytes <= 8 * 2**20  # all 150 maps at full size would take 96 MB


@pytest.mark.parametrize(("cells", "size"), [((500, 3), (4, 800)), ((3, 90), (300, 50))])
def test_nor_is_it_where_one_side_shrinks(cells, size):
    grids = [make("noise", 150, cells, 1), make("noise", 150, (12, 10), 1)]
    with LargestTensor() as largest:
        labels = several_argmax(grids, size)
    assert_best(labels, grids, size)
    assert largest.bytes <= 8 * 2**20


@pytest.mark.parametrize("kind", KINDS[:5])
def test_the_sums_at_some_pixels(kind):
    grids = [make(kind, 11, shape, 1) for shape in ((20, 31), (13, 17), (100, 9))]
    generator = torch.Generator().manual_seed(0)
    y, x = (torch.randint(length, (500,), generator=generator) for length in SIZE)
    expected = interpolated_sum(grids, SIZE)[:, y, x]
    torch.testing.assert_close(several_at(grids, SIZE, y, x), expected, rtol=0, atol=2e-6 * 8)


@given(
    st.lists(cells, min_size=1, max_size=4),
    st.integers(1, 20),
    st.sampled_from([0.1, 0.5, 0.9, 1.0]),
    st.sampled_from(["noise", "smooth"]),
    st.tuples(st.integers(1, 150), st.integers(1, 150)),
)
@settings(deadline=None)
def test_below_equals_the_share_of_the_sum(shapes, classes, below, kind, size):
    grids = [make(kind, classes, shape, index).softmax(0) * (index + 1) for index, shape in enumerate(shapes)]
    full = interpolated_sum(grids, size)
    share = full.amax(0) / full.sum(0)
    differ = several_below(grids, several_argmax(grids, size), below) != (share < below)
    assert not (differ & ((share - below).abs() > 1e-5)).any()


def test_nothing_is_below_where_all_classes_are_zero_or_not_a_number():
    grids = [make("probabilities", 5, shape, 1) for shape in ((12, 14), (9, 30))]
    for grid in grids:
        grid[:, :, :6] = 0
    grids[1][2, -1, -1] = torch.nan
    full = interpolated_sum(grids, SIZE)
    expected = full.amax(0) / full.sum(0) < 0.9
    assert torch.equal(several_below(grids, several_argmax(grids, SIZE), 0.9), expected)
