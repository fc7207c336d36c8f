"""What the library's encoders were trained with: what its `get_preprocessing_params` gives, without the hub.

The library itself asks the hub for it, encoder by encoder. Here stands what its version 0.3.4, the last one
with the values in its code, has for each of them; those of timm (`tu-...`) come with timm.
"""

from __future__ import annotations

from batchseg.segmentors.network.normalisation import Normalisation
from batchseg.segmentors.smp.loading import load_timm

_IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = Normalisation((0.5,) * 3, (0.5,) * 3)
_DPN = Normalisation((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)
_OF_TIMM = "tu-"
_HALF_NAMES = ("inceptionresnetv2", "inceptionv4", "xception", "timm-tf_efficientnet_lite")
_ADVPROP = "advprop"
_FAMILIES = (
    *("resnet", "resnext", "vgg", "senet", "se_resnet", "se_resnext", "densenet", "efficientnet-b"),
    *("mobilenet_v2", "mobileone_s", "mit_b", "timm-efficientnet", "timm-resnest", "timm-res2ne"),
    *("timm-regnet", "timm-skresne", "timm-mobilenetv3", "timm-gernet"),
)


def encoder_normalisation(name: str, weights: str | None) -> Normalisation | None:
    """What images an encoder expects; None where that is not known.

    Args:
        weights: those of the library that it began with, such as imagenet or advprop.
    """
    if name.startswith(_OF_TIMM):
        return _of_timm(name.removeprefix(_OF_TIMM))
    if name.startswith("dpn"):
        return _DPN
    if name.startswith(_HALF_NAMES) or weights == _ADVPROP:
        return _HALF
    return _IMAGENET if name.startswith(_FAMILIES) else None


def _of_timm(name: str) -> Normalisation | None:
    found = load_timm().models.get_pretrained_cfg(name)
    return Normalisation(tuple(found.mean), tuple(found.std)) if found is not None else None
