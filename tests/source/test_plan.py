"""The plan: every image once, in chunks; the names of the masks; flat memory."""

from __future__ import annotations

import gc
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchseg.source.listing import LISTING
from batchseg.source.names import Owners, mask_of, mask_path
from batchseg.source.plan import (
    CHUNK_BYTES,
    Listing,
    Plan,
    write_chosen,
    write_listing,
    write_plan,
    write_rest,
)
from batchseg.storage.keys import Keys, KeySet, keys
from batchseg.storage.location import Location, locate


def table(
    ids: Iterable[str], sizes: Iterable[int | None] | None = None, statuses: dict[str, str] | None = None
) -> pa.Table:
    names = list(ids)
    columns = {
        "id": names,
        "uri": [f"/data/{name}" for name in names],
        "size": list(sizes) if sizes is not None else [1] * len(names),
        "status": [(statuses or {}).get(name) for name in names],
        "error": [(statuses or {}).get(name) and "its fault" for name in names],
    }
    arrays = [pa.array(columns.get(field.name, [None] * len(names)), field.type) for field in LISTING]
    return pa.Table.from_arrays(arrays, schema=LISTING)


def not_done(listing: Listing, done: Iterable[str]) -> Iterator[pa.Table]:
    """What a run chooses: the listed rows without those of these ids."""
    wanted = pa.array(list(done), pa.string())
    for rows in listing.tables():
        yield rows.filter(pc.invert(pc.is_in(rows["id"], wanted)))


def committed(masks: dict[str, str]) -> Callable[[Keys], list[str | None]]:
    """Stands for earlier results: the image that each mask is of."""
    owners = {int(key): name for key, name in zip(keys(masks), masks.values(), strict=True)}
    return lambda names: [owners.get(int(name)) for name in names]


@pytest.fixture
def work(tmp_path: Path) -> Location:
    return locate(str(tmp_path))


def listing_of(work: Location, *tables: pa.Table, mask_name: str = "stem") -> Listing:
    return write_listing(iter(tables), work / "listing.arrow", mask_name)


def plan_of(
    work: Location,
    *tables: pa.Table,
    done: Iterable[str] = (),
    mask_name: str = "stem",
    masks: dict[str, str] | None = None,
) -> Plan:
    listing = listing_of(work, *tables, mask_name=mask_name)
    owners = Owners(listing.shared_masks, committed(masks or {}), listing.masks)
    chosen = write_chosen(map(owners.settle, not_done(listing, done)), work / "chosen.arrow")
    return write_plan(chosen, work / "plan.arrow", 100)


def rows_of(plan: Plan) -> list[dict]:
    return [row for chunk in range(plan.chunks) for row in plan.read(chunk).to_pylist()]


def outcome(plan: Plan) -> dict[str, tuple[str | None, str | None]]:
    return {row["id"]: (row["mask"], row["status"]) for row in rows_of(plan)}


# -- chunks


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 9 * 2**20) | st.none(), max_size=12), min_size=1, max_size=8),
    st.integers(1, 7),
    st.sets(st.integers(0, 60)),
)
def test_chunks_hold_each_image_that_is_not_done_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[list[int | None]], rows: int, done: set[int]
) -> None:
    work = locate(str(tmp_path_factory.mktemp("plan")))
    tables, count = [], 0
    for some in sizes:
        tables.append(table((f"{count + index:04d}.jpg" for index in range(len(some))), some))
        count += len(some)
    listing = listing_of(work, *tables)
    chosen = write_chosen(not_done(listing, (f"{index:04d}.jpg" for index in done)), work / "chosen.arrow")
    plan = write_plan(chosen, work / "plan.arrow", rows, first=7)
    expected = [f"{index:04d}.jpg" for index in range(count) if index not in done]
    chunks = [plan.read(index) for index in range(plan.chunks)]
    assert [name for chunk in chunks for name in chunk["id"].to_pylist()] == expected
    assert [number for chunk in chunks for number in chunk["_row"].to_pylist()] == [
        7 + place for place in range(len(expected))
    ]
    assert (chosen.images, listing.images) == (len(expected), count)
    for chunk in chunks:
        weight = sum(size or 0 for size in chunk["size"].to_pylist())
        assert 1 <= len(chunk) <= rows
        assert len(chunk) == 1 or weight <= CHUNK_BYTES
    # no chunk ends without a reason: the next image would have been one too many, or too heavy
    for chunk, following in pairwise(chunks):
        weight = sum(size or 0 for size in chunk["size"].to_pylist()) + (following["size"][0].as_py() or 0)
        assert len(chunk) == rows or weight > CHUNK_BYTES


def test_folders_of_one_image_each_share_chunks(work: Location) -> None:
    plan = plan_of(work, *(table([f"{index:05d}/a.jpg"]) for index in range(1000)))
    assert [len(plan.read(chunk)) for chunk in range(plan.chunks)] == [100] * 10


def test_a_night_of_few_new_images_shares_chunks(work: Location) -> None:
    names = [f"{index:06d}.jpg" for index in range(50_000)]
    tables = [table(names[start : start + 8192]) for start in range(0, len(names), 8192)]
    new = set(names[::500])
    plan = plan_of(work, *tables, done=set(names) - new)
    assert plan.chunks == 1
    assert [row["id"] for row in rows_of(plan)] == sorted(new)


def test_a_listing_counts_what_it_holds(work: Location) -> None:
    first = table(["a.jpg", "b.jpg"])
    first = first.set_column(2, LISTING.field("truth"), pa.array(["t/a.png", None]))
    listing = listing_of(work, first, table(["c.jpg", "d.jpg"]))
    assert (listing.images, listing.with_truth, listing.examples) == (4, 1, ["a.jpg", "b.jpg", "c.jpg"])
    assert [name for part in listing.tables() for name in part["id"].to_pylist()] == [
        "a.jpg", "b.jpg", "c.jpg", "d.jpg",
    ]  # fmt: skip


def test_nothing_to_list_and_nothing_to_do(work: Location) -> None:
    assert plan_of(work).chunks == 0
    assert plan_of(work, table(["a.jpg"]), done=["a.jpg"]).chunks == 0


def test_a_later_plan_at_the_same_path_is_read_anew(work: Location) -> None:
    first = plan_of(work, table(["a.jpg"]))
    assert [row["id"] for row in rows_of(first)] == ["a.jpg"]
    (work / "plan.arrow").delete()
    second = plan_of(work, table(["b.jpg"]))
    assert [row["id"] for row in rows_of(second)] == ["b.jpg"]


def test_rows_that_are_left_over_keep_their_numbers_in_smaller_chunks(work: Location) -> None:
    plan = plan_of(work, table(f"{index:03d}.jpg" for index in range(250)))
    rest = write_rest(plan, [3, 105, 106, 249], work / "rest.arrow", 2)
    found = [
        [(row["id"], row["_row"]) for row in rest.read(chunk).to_pylist()] for chunk in range(rest.chunks)
    ]
    assert found == [[("003.jpg", 3), ("105.jpg", 105)], [("106.jpg", 106), ("249.jpg", 249)]]
    assert rest.carried == plan.carried == pa.schema([])


# -- masks


@pytest.mark.parametrize(
    ("image_id", "stem", "full"),
    [
        ("a.jpg", "a.png", "a.jpg.png"),
        ("a/b.c/d.tar.gz", "a/b.c/d.tar.png", "a/b.c/d.tar.gz.png"),
        ("without", "without.png", "without.png"),
        ("a b/ü'\".jpg", "a b/ü'\".png", "a b/ü'\".jpg.png"),
        ("/abs/a.jpg", "abs/a.png", "abs/a.jpg.png"),
        ("s3://bucket/a.jpg", "bucket/a.png", "bucket/a.jpg.png"),
        ("./x//y.jpg", "x/y.png", "x/y.jpg.png"),
        ("a..jpg", "a..png", "a..jpg.png"),
        ("../a.jpg", None, None),
        ("a/../../b.jpg", None, None),
        ("s3://../a.jpg", None, None),
        ("a\0b.jpg", None, None),
        ("..\\a.jpg", None, None),
        ("", None, None),
        (".", None, None),
        ("..", None, None),
        ("/", None, None),
        ("x" * 300 + ".jpg", None, None),
        ("ü" * 126 + ".jpg", None, None),  # 126 letters, 256 bytes
        ("/".join(["folder"] * 300) + ".jpg", None, None),
    ],
)
def test_the_mask_of_an_id(image_id: str, stem: str | None, full: str | None) -> None:
    assert (mask_path(image_id, "stem"), mask_path(image_id, "full")) == (stem, full)


@pytest.mark.parametrize(
    ("image_id", "stem"),
    [
        ("../images/a.jpg", "images/a.png"),
        ("../../a.jpg", "a.png"),
        ("x/../a.jpg", "a.png"),
        ("a/../../b.jpg", "b.png"),
        ("/../a.jpg", "a.png"),
        ("s3://bucket/x/../a.jpg", "bucket/a.png"),
        ("s3://../a.jpg", "a.png"),
        ("a/..", None),
        ("../..", None),
        ("..\\a.jpg", None),
    ],
)
def test_the_mask_of_a_path_that_goes_up(image_id: str, stem: str | None) -> None:
    """Where the path is the image's own; an id that somebody gave it is not resolved."""
    uri = image_id if "://" in image_id else f"/data/list/{image_id}"
    assert mask_of(image_id, uri, "stem") == stem
    assert mask_of(image_id, uri, "full") == (stem and f"{stem.removesuffix('.png')}.jpg.png")
    assert mask_of("../given.jpg", uri, "stem") is None


hostile = st.text() | st.lists(
    st.sampled_from(["..", ".", "/", "a", ".jpg", "\\", "\0", "://", "~", "C:", "x" * 200, "ü"]), max_size=9
).map("".join)


@given(hostile, st.sampled_from(["stem", "full"]))
def test_no_id_leads_out_of_the_masks_folder(image_id: str, mask_name: str) -> None:
    mask = mask_of(image_id, image_id, mask_name)
    if mask is not None:
        path = PurePosixPath(mask)
        assert not path.is_absolute()
        assert not {"..", "."} & set(path.parts)
        assert path.as_posix() == mask
        assert path.suffix == ".png" or path.name == ".png"
        assert not {"\0", "\\"} & set(mask)
        assert all(len(part.encode()) <= 255 for part in path.parts)
        assert (locate("/results") / "masks" / mask).path.startswith("/results/masks/")


def test_unsafe_ids_are_denied_and_the_others_go_on(work: Location) -> None:
    plan = plan_of(work, table(["../x.jpg", "a\\b.jpg", "ok.jpg", "y" * 300]))
    assert outcome(plan) == {
        "../x.jpg": ("x.png", None),
        "a\\b.jpg": (None, "denied"),
        "ok.jpg": ("ok.png", None),
        "y" * 300: (None, "denied"),
    }
    (error,) = {row["error"] for row in rows_of(plan) if row["status"]}
    assert error == "no safe file name follows from this id; rename it"


def test_a_fault_of_the_listing_outranks_an_unsafe_name(work: Location) -> None:
    plan = plan_of(work, table(["bad\\xff.jpg"], statuses={"bad\\xff.jpg": "unreadable"}))
    assert [(row["status"], row["error"]) for row in rows_of(plan)] == [("unreadable", "its fault")]


def test_the_first_in_order_has_the_short_name(work: Location) -> None:
    names = ["a.bmp", "a.jpg", "b.jpg", "c/a.jpg", "a.png"]
    assert outcome(plan_of(work, table(names[:2]), table(names[2:]))) == {
        "a.bmp": ("a.png", None),
        "a.jpg": ("a.jpg.png", None),
        "b.jpg": ("b.png", None),
        "c/a.jpg": ("c/a.png", None),
        "a.png": ("a.png.png", None),
    }


@pytest.mark.parametrize("order", [["a.jpg", "a.png", "a.png.bmp"], ["a.png.bmp", "a.jpg", "a.png"]])
def test_a_full_name_is_no_other_images_short_one(work: Location, order: list[str]) -> None:
    plan = plan_of(work, table(order))
    assert outcome(plan) == {
        "a.jpg": ("a.png", None),
        "a.png": ("a.png", "name_collision"),
        "a.png.bmp": ("a.png.png", None),
    }
    (error,) = [row["error"] for row in rows_of(plan) if row["status"]]
    assert error == (
        "its mask would be a.png, which belongs to a.jpg, and its full name is taken as well; rename it "
        "(in a manifest give it another id), and --prune takes away what is gone"
    )


def test_names_that_are_one_in_full_collide(work: Location) -> None:
    plan = plan_of(work, table(["../x/a.jpg", "x/a.jpg", "s3://x/a.jpg"]))
    assert outcome(plan) == {
        "../x/a.jpg": ("x/a.png", None),
        "x/a.jpg": ("x/a.jpg.png", None),
        "s3://x/a.jpg": ("x/a.png", "name_collision"),
    }


letters = st.lists(st.sampled_from("ab./"), min_size=1, max_size=5).map("".join)


@given(
    st.lists(letters.map(lambda name: f"{name}.png") | letters, min_size=1, max_size=8, unique=True),
    st.data(),
)
def test_no_two_images_write_the_same_mask(names: list[str], data: st.DataObject) -> None:
    """Whatever is committed, and whatever the images had before."""
    short = {name: mask_path(name, "stem") for name in names}
    had = {name: data.draw(st.sampled_from([None, short[name], mask_path(name, "full")])) for name in names}
    had = {name: mask for name, mask in had.items() if mask and [*had.values()].count(mask) == 1}
    gone = data.draw(st.sampled_from([None, *(mask for mask in short.values() if mask not in had.values())]))
    with tempfile.TemporaryDirectory() as folder:
        listing = listing_of(locate(folder), table(names))
        owners = Owners(
            listing.shared_masks,
            committed({gone: "gone.jpg"} if gone else {}),
            listing.masks,
            KeySet([keys(had.values())]),
        )
        settled = [owners.settle(rows, keys(had.get(name) for name in rows["id"].to_pylist()))
                   for rows in listing.tables()]  # fmt: skip
    found = {row["id"]: row["mask"] for rows in settled for row in rows.to_pylist() if not row["status"]}
    assert len({*found.values()}) == len(found)
    assert gone is None or gone not in found.values()
    assert {name: found.get(name) for name in had} == had  # everyone keeps what it has


def test_full_names_do_not_collide(work: Location) -> None:
    plan = plan_of(work, table(["a.bmp", "a.jpg"]), mask_name="full")
    assert outcome(plan) == {"a.bmp": ("a.bmp.png", None), "a.jpg": ("a.jpg.png", None)}


def test_broken_files_claim_no_mask(work: Location) -> None:
    statuses = {"a.bmp": "missing", "b.bmp": "denied"}
    plan = plan_of(work, table(["a.bmp", "a.jpg", "b.bmp", "b.jpg"], statuses=statuses))
    assert outcome(plan) == {
        "a.bmp": ("a.png", "missing"),
        "a.jpg": ("a.png", None),
        "b.bmp": ("b.png", "denied"),
        "b.jpg": ("b.png", None),
    }


def test_a_new_image_does_not_take_the_mask_of_one_that_is_done(work: Location) -> None:
    listed = table(["a.bmp", "a.jpg", "a.png"])
    plan = plan_of(work, listed, done=["a.jpg"], masks={"a.png": "a.jpg"})
    assert outcome(plan) == {"a.bmp": ("a.bmp.png", None), "a.png": ("a.png.png", None)}


def test_nor_that_of_one_that_is_listed_no_more(work: Location) -> None:
    """Its row stays until it is pruned, and its mask with it."""
    plan = plan_of(work, table(["a.bmp"]), masks={"a.png": "gone/a.jpg"})
    assert outcome(plan) == {"a.bmp": ("a.bmp.png", None)}
    both = {"a.png": "gone/a.jpg", "a.bmp.png": "gone/a.bmp.bmp"}
    assert outcome(plan_of(work, table(["a.bmp"]), masks=both)) == {"a.bmp": ("a.png", "name_collision")}


def test_an_image_keeps_the_mask_that_it_has(work: Location) -> None:
    plan = plan_of(work, table(["a.bmp", "a.jpg"]), masks={"a.png": "a.jpg"})
    assert outcome(plan) == {"a.bmp": ("a.bmp.png", None), "a.jpg": ("a.png", None)}


# -- memory


def many(count: int) -> Iterator[pa.Table]:
    """Tables made by Arrow alone, so that every Python object there is comes from the listing."""
    for start in range(0, count, 8192):
        numbers = pa.array(np.arange(start, min(start + 8192, count))).cast(pa.string())
        names = pc.binary_join_element_wise("some folder/another/image_", numbers, ".jpg", "")
        nothing = {field.name: pa.nulls(len(names), field.type) for field in LISTING}
        yield pa.table({**nothing, "id": names, "uri": names}, schema=LISTING)


def test_the_driver_holds_keys_and_no_rows(work: Location) -> None:
    count = 200_000
    tracemalloc.start()
    listing = write_listing(many(count), work / "listing.arrow", "stem")
    chosen = [write_chosen(some, work / "chosen.arrow") for some in ((), listing.tables())]
    plan = write_plan(chosen[1], work / "plan.arrow", 256)
    gc.collect()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [some.images for some in chosen] == [0, count]
    assert plan.chunks == count // 256 + 1
    # as Python objects the rows would be 200 MB; keys are 8 bytes each, and a table in work 8,192 rows
    assert held < 500_000
    assert peak < 20_000_000
