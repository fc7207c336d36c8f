"""The model families of transformers that segment, and what sets some of them apart."""

from __future__ import annotations

# listed here because transformers names them only after torch is loaded; a test keeps the lists equal
SEMANTIC = (
    "beit",
    "data2vec-vision",
    "dpt",
    "mobilenet_v2",
    "mobilevit",
    "mobilevitv2",
    "sapiens2",
    "segformer",
    "tipsv2_dpt",
    "upernet",
)
UNIVERSAL = ("detr", "eomt", "eomt_dinov3", "mask2former", "maskformer", "oneformer", "videomt")
OWN = ("llmseg",)
KNOWN = tuple(sorted((*SEMANTIC, *UNIVERSAL, *OWN)))

# told in words what to segment (see segmentors/prompted)
PROMPTED = ("clipseg", "groupvit", "sam3", "sam3_lite_text", "sam3_lite_text_video", "sam3_video")

FIXED_SIZE = ("eomt", "eomt_dinov3")  # their input is a square, or several
# places in the picture are learned, and not interpolated
ONE_SIZE = (*FIXED_SIZE, "beit", "data2vec-vision", *(name for name in PROMPTED if name != "clipseg"))
VIDEO = ("videomt",)  # an image is a clip of one frame
TASK = ("oneformer",)  # told in words what to do

# vision transformers: the patches, along a side, that one cell of their decoder's coarsest map stands for
PATCHES = {
    "beit": 2,
    "data2vec-vision": 2,
    "dpt": 2,
    "eomt": 1,
    "eomt_dinov3": 1,
    "sapiens2": 1,
    "tipsv2_dpt": 2,
    "videomt": 1,
}
