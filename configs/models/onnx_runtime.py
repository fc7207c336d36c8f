"""An ONNX network with ONNX Runtime.

It reads pixel_values [B, 3, H, W], normalised as ImageNet's, and answers with logits [B, C, h, w], as the
exports of optimum and of torch.onnx do. Another network needs other lines in `prepare` and `segment`.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch
from PIL import Image

import batchseg

SIZE = (224, 224)  # width and height that the network was exported for
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class OnnxModel:
    """The file at `path`; it counts as another model when its content changes, since an option names it."""

    labels = ("background", "road", "building")  # in the order of the network's outputs

    def __init__(self, device: str, path: str, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        # beside other actors each keeps to its own cores; by default a session takes all of the machine
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        providers = ["CPUExecutionProvider"]
        if device == "cuda":
            providers.insert(0, "CUDAExecutionProvider")  # of the package onnxruntime-gpu
        self.session = onnxruntime.InferenceSession(path, options, providers=providers)

    @staticmethod
    def prepare(image: np.ndarray) -> np.ndarray:
        """On a CPU worker, beside the model: the network's own size, still uint8."""
        return np.asarray(Image.fromarray(image).resize(SIZE, Image.Resampling.BILINEAR))

    def segment(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Class ids at the size that `prepare` made; masks get the size of their images (nearest pixel)."""
        pixels_BHWC = (np.stack(images).astype(np.float32) / 255 - MEAN) / STD
        name = self.session.get_inputs()[0].name
        (logits,) = self.session.run(None, {name: np.ascontiguousarray(pixels_BHWC.transpose(0, 3, 1, 2))})
        return [batchseg.bilinear_argmax(each, SIZE[::-1]).numpy() for each in torch.from_numpy(logits)]
