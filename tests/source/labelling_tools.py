"""Writes maps of class ids by the labelling tools' own libraries. Runs in their Python, without batchseg.

usage: labelling_tools.py FOLDER: holds maps.npz (id of an image -> ids) and names.json
"""

import json
import sys
from pathlib import Path

import numpy as np
from datumaro.components.annotation import AnnotationType, LabelCategories, Mask, Polygon
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from label_studio_sdk.converter import brush
from PIL import Image as Picture


def data_set(maps, names, polygons):
    categories = {AnnotationType.label: LabelCategories.from_iterable(names)}
    items = []
    for name, ids in maps.items():
        areas = []
        for class_id in range(1, len(names)):
            if polygons:
                rows, columns = np.nonzero(ids == class_id)
                top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
                corners = [left, top, right, top, right, bottom, left, bottom]
                areas.append(Polygon([float(each) for each in corners], label=class_id, group=class_id))
            else:
                areas.append(Mask(ids == class_id, label=class_id, group=class_id, id=class_id))
        picture = Image.from_numpy(np.zeros((*ids.shape, 3), np.uint8))
        items.append(DatasetItem(name, media=picture, annotations=areas, attributes={"id": len(items) + 1}))
    return Dataset.from_iterable(items, categories=categories, media_type=Image)


def main(folder):
    maps, names = dict(np.load(folder / "maps.npz")), json.loads((folder / "names.json").read_text())
    masks = data_set(maps, names, polygons=False)
    masks.export(str(folder / "coco"), "coco_instances", segmentation_mode="mask")
    masks.export(str(folder / "panoptic"), "coco_panoptic")
    lines = [f"{name}:{70 * index},{9 * index},0::" for index, name in enumerate(names)]
    (folder / "colours.txt").write_text("\n".join(lines))
    masks.export(str(folder / "voc"), "voc_segmentation", label_map=str(folder / "colours.txt"))
    data_set(maps, names, polygons=True).export(str(folder / "polygons"), "coco_instances")
    tasks = []
    for name, ids in maps.items():
        result = []
        for class_id in range(1, len(names)):
            path = folder / "one.png"
            Picture.fromarray((ids == class_id).astype(np.uint8) * 255).save(path)
            runs, width, height = brush.image2rle(str(path))
            assert np.array_equal(runs, brush.mask2rle((ids == class_id).astype(np.uint8) * 255))
            value = {"format": "rle", "rle": runs, "brushlabels": [names[class_id]]}
            size = {"original_width": width, "original_height": height, "image_rotation": 0}
            result.append({"id": str(class_id), "type": "brushlabels", "value": value, **size})
        data = {"image": f"/data/local-files/?d=photos/{name}.jpg"}
        tasks.append({"id": 1, "data": data, "annotations": [{"id": 1, "result": result}]})
    (folder / "label-studio.json").write_text(json.dumps(tasks))


main(Path(sys.argv[1]))
