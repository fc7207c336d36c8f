"""Annotations as labelling tools export them: COCO, Label Studio and CVAT, as a source of ground truth."""
