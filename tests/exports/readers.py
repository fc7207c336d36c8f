"""Run by the Python of BATCHSEG_READERS, which has datumaro and label-studio-sdk: an export as they read it.

    readers.py cvat FOLDER OUT        a folder with annotations.xml and images/
    readers.py label-studio FILE OUT

OUT is an .npz with one map an image: 0, or 1 + the place of the label among the names.
"""

from __future__ import annotations

import json
import sys

import numpy as np


def cvat(folder: str, names: list[str]) -> dict[str, np.ndarray]:
    import datumaro

    found = {}
    data = datumaro.Dataset.import_from(folder, "cvat")
    labels = [label.name for label in data.categories()[datumaro.AnnotationType.label]]
    for item in data:
        labels_HW = np.zeros(item.media.size, int)
        for each in item.annotations:
            labels_HW[each.image.astype(bool)] = 1 + names.index(labels[each.label])
        found[item.id] = labels_HW
    return found


def label_studio(file: str, names: list[str]) -> dict[str, np.ndarray]:
    from label_studio_sdk.converter.brush import decode_rle

    found = {}
    with open(file, encoding="utf-8") as opened:
        tasks = json.load(opened)
    for task in tasks:
        for brush in task["predictions"][0]["result"]:
            shape = brush["original_height"], brush["original_width"]
            labels_HW = found.setdefault(task["data"]["id"], np.zeros(shape, int))
            mask_HW = decode_rle(brush["value"]["rle"]).reshape(*shape, 4)[..., 3] > 0
            labels_HW[mask_HW] = 1 + names.index(brush["value"]["brushlabels"][0])
    return found


if __name__ == "__main__":
    kind, path, out, *names = sys.argv[1:]
    np.savez(out, **(cvat if kind == "cvat" else label_studio)(path, names))
