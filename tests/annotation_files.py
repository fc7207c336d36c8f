"""Annotations as labelling tools write them, from maps of class ids, by nothing of batchseg."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

Ids = NDArray[np.uint8]
COLOURS = ((0, 0, 0), (255, 0, 0), (0, 128, 64), (10, 20, 30))


def coco(maps: Mapping[str, Ids], names: Sequence[str], *, packed: bool = True) -> dict[str, Any]:
    """Instances, one a class and image, as runs; the first of the names is not annotated."""
    images = [
        {"id": 10 + index, "file_name": name, "height": ids.shape[0], "width": ids.shape[1]}
        for index, (name, ids) in enumerate(maps.items())
    ]
    annotations = [
        {
            "id": 100 * image["id"] + class_id,
            "image_id": image["id"],
            "category_id": 7 * class_id,
            "iscrowd": 1,
            "segmentation": runs(ids == class_id, packed=packed),
        }
        for image, ids in zip(images, maps.values(), strict=True)
        for class_id in range(1, len(names))
        if (ids == class_id).any()
    ]
    categories = [{"id": 7 * class_id, "name": name} for class_id, name in enumerate(names) if class_id]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def runs(inside: NDArray[np.bool_], *, packed: bool = True) -> dict[str, Any]:
    """COCO's own encoding, or its lengths as a list."""
    if packed:
        encoded = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))
        return {"size": list(inside.shape), "counts": encoded["counts"].decode()}
    flat = inside.ravel(order="F").tolist()
    counts = [len(list(run)) for _, run in groupby(flat)]
    return {"size": list(inside.shape), "counts": [0, *counts] if flat[0] else counts}


def panoptic(maps: Mapping[str, Ids], names: Sequence[str], folder: Path) -> dict[str, Any]:
    """Beside the pictures of its segments, which are in `folder`."""
    whole = coco(maps, names)
    folder.mkdir(parents=True)
    whole["annotations"] = []
    for image, ids in zip(whole["images"], maps.values(), strict=True):
        segments = {class_id: 1000 * image["id"] + class_id for class_id in range(1, len(names))}
        numbers = np.zeros(ids.shape, np.uint32)
        for class_id, segment in segments.items():
            numbers[ids == class_id] = segment
        parts = [numbers & 255, numbers >> 8 & 255, numbers >> 16]
        Image.fromarray(np.stack(parts, -1).astype(np.uint8)).save(folder / f"{image['id']}.png")
        info = [{"id": segment, "category_id": 7 * class_id} for class_id, segment in segments.items()]
        whole["annotations"].append(
            {"image_id": image["id"], "file_name": f"{image['id']}.png", "segments_info": info}
        )
    return whole


def brush(inside: NDArray[np.bool_], *, by_run: bool = True) -> list[int]:
    """Bits as @thi.ng/rle-pack has them: 32 of the number of values, 5 and 4 x 4 of widths, then the runs."""
    values = np.repeat(inside.astype(np.uint8).ravel() * 255, 4).tolist()
    widths = (3, 4, 8, 16)
    bits = f"{len(values):032b}{8 - 1:05b}" + "".join(f"{width - 1:04b}" for width in widths)
    blocks = [(value, len(list(same))) for value, same in groupby(values)] if by_run else []
    for value, length in blocks:
        while length:
            size = next(index for index, width in enumerate(widths) if length <= 2**width or width == 16)
            now = min(length, 2 ** widths[size])
            bits += f"1{size:02b}{now - 1:0{widths[size]}b}{value:08b}"
            length -= now
    for start in [] if by_run else range(0, len(values), 16):
        some = values[start : start + 16]
        bits += f"0{1:02b}{len(some) - 1:04b}" + "".join(f"{value:08b}" for value in some)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def region(kind: str, hw: tuple[int, int], label: str, **value: Any) -> dict[str, Any]:
    """Of Label Studio."""
    labels = {f"{kind}labels": [label]}
    return {
        "id": f"{kind}-{label}",
        "type": f"{kind}labels",
        "from_name": "label",
        "to_name": "image",
        "original_width": hw[1],
        "original_height": hw[0],
        "image_rotation": 0,
        "value": {**value, **labels},
    }


def brushes(ids: Ids, names: Sequence[str], *, by_run: bool = True) -> list[dict[str, Any]]:
    """A region a class."""
    return [
        region("brush", ids.shape, name, format="rle", rle=brush(ids == class_id, by_run=by_run))
        for class_id, name in enumerate(names)
        if class_id and (ids == class_id).any()
    ]


def task(image: str, result: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Of Label Studio, with one annotation."""
    annotation = {"id": 1, "was_cancelled": False, "ground_truth": False, "result": result}
    annotation |= {"updated_at": "2026-01-02T00:00:00.000000Z", "created_at": "2026-01-01T00:00:00.000000Z"}
    return {"id": 1, "data": {"image": image}, "annotations": [annotation | more], "predictions": []}


def label_studio(maps: Mapping[str, Ids], names: Sequence[str]) -> list[dict[str, Any]]:
    """Tasks of uploads."""
    return [
        task(f"/data/upload/3/{index:08x}-{name}", brushes(ids, names, by_run=len(ids) % 2 == 0))
        for index, (name, ids) in enumerate(maps.items())
    ]


def label_studio_min(maps: Mapping[str, Ids], names: Sequence[str]) -> list[dict[str, Any]]:
    """JSON-MIN of the same."""
    rows = []
    for name, ids in maps.items():
        regions = [
            {**each["value"], "original_width": ids.shape[1], "original_height": ids.shape[0]}
            for each in brushes(ids, names)
        ]
        rows.append({"id": 1, "image": f"s3://bucket/photos/{name}", "tag": regions, "updated_at": "2026"})
    return rows


def cvat_masks(maps: Mapping[str, Ids], names: Sequence[str], *, indexed: bool = False) -> bytes:
    """The zip of "Segmentation mask 1.1"."""
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"{name}:{','.join(map(str, COLOURS[at]))}::" for at, name in enumerate(names) if at]
    files: dict[str, bytes] = {"labelmap.txt": "\n".join(lines).encode()}
    for name, ids in maps.items():
        picture = Image.fromarray(np.array(COLOURS, np.uint8)[ids])
        if indexed:
            picture = Image.fromarray(ids)
            picture.putpalette(np.array(COLOURS, np.uint8).tobytes())
        file = io.BytesIO()
        picture.save(file, "PNG")
        files[f"SegmentationClass/{name.rpartition('.')[0]}.png"] = file.getvalue()
    return zipped(files)


def cvat_xml(maps: Mapping[str, Ids], names: Sequence[str]) -> bytes:
    """ "CVAT for images 1.1" with a mask a class, in its box."""
    parts = ['<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>']
    for number, (name, ids) in enumerate(maps.items()):
        height, width = ids.shape
        parts.append(f'<image id="{number}" name={quoteattr(name)} width="{width}" height="{height}">')
        for class_id, label in enumerate(names):
            if class_id and (ids == class_id).any():
                rows, columns = np.nonzero(ids == class_id)
                top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
                inside = (ids == class_id)[top:bottom, left:right].ravel().tolist()
                counts = [len(list(run)) for _, run in groupby(inside)]
                counts = [0, *counts] if inside[0] else counts
                parts.append(
                    f'<mask label={quoteattr(label)} source="manual" occluded="0" z_order="0" left="{left}" '
                    f'top="{top}" width="{right - left}" height="{bottom - top}" '
                    f'rle="{", ".join(map(str, counts))}"><attribute name="x">1</attribute></mask>'
                )
        parts.append("</image>")
    return "".join([*parts, "</annotations>"]).encode()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip of some files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def write_all(folder: Path, maps: Mapping[str, Ids], names: Sequence[str]) -> dict[str, Path]:
    """A file of each format that is read, by a name for it."""
    folder.mkdir(parents=True, exist_ok=True)
    flat = {name.rpartition("/")[2]: ids for name, ids in maps.items()}
    whole = panoptic(maps, names, folder / "panoptic")
    pictures = {f"x/panoptic/{path.name}": path.read_bytes() for path in (folder / "panoptic").iterdir()}
    contents: dict[str, Any] = {
        "coco.json": coco(maps, names),
        "coco-lists.json": coco(maps, names, packed=False),
        "panoptic.json": whole,
        "panoptic.zip": zipped({"x/panoptic.json": json.dumps(whole).encode(), **pictures}),
        "label-studio.json": label_studio(flat, names),
        "label-studio-min.json": label_studio_min(maps, names),
        "cvat-masks.zip": cvat_masks(maps, names),
        "cvat-indexed.zip": cvat_masks(maps, names, indexed=True),
        "cvat.xml": cvat_xml(maps, names),
        "cvat-images.zip": zipped({"annotations.xml": cvat_xml(maps, names), "images/x.txt": b""}),
        "coco.zip": zipped({"annotations/instances.json": json.dumps(coco(maps, names)).encode()}),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return {name: folder / name for name in contents}
