"""A model of segmentation_models.pytorch, from the folder that its `save_pretrained` wrote."""

from __future__ import annotations

import numpy as np
import segmentation_models_pytorch as smp
import torch

MULTIPLE = 32  # of pixels: what five strides of two need


class SmpModel:
    """The network in `folder`. Images go in at their own size, padded at the right and at the bottom.

    `mean` and `std` are ImageNet's, as get_preprocessing_fn has them for nearly all encoders; it would ask
    the hub for them.
    """

    labels = ("background", "lesion")  # in the order of the network's outputs

    def __init__(
        self,
        device: str,
        folder: str,
        mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        std: tuple[float, ...] = (0.229, 0.224, 0.225),
    ) -> None:
        self.device = device
        self.network = smp.from_pretrained(folder).eval().to(device)
        self.mean, self.std = (torch.tensor(each).view(3, 1, 1) for each in (mean, std))

    @torch.inference_mode()
    def segment(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Class ids [H, W] for each of the images, uint8 RGB [H, W, 3] of one size."""
        height, width = images[0].shape[:2]
        pixels_BCHW = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
        padded = torch.nn.functional.pad(
            (pixels_BCHW - self.mean) / self.std, (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        )
        logits = self.network(padded.to(self.device))[:, :, :height, :width]
        if logits.shape[1] == 1:  # trained with a sigmoid: background, and what is above one half
            above = 0.5 if self.network.config["activation"] == "sigmoid" else 0.0
            return [*(logits[:, 0] > above).to(torch.uint8).cpu().numpy()]
        return [*logits.argmax(1).to(torch.uint8).cpu().numpy()]
