"""What is compared, on what, for how long, and by which rule. Fixed before the first run, and tested once.

Does a language model that was pretrained on text help to segment what a prompt names by words that no
training image was named by? All arms share a decoder and the same eyes; they differ in what they know of the
words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

SIDE = 80  # of a scene, in pixels
TRAIN_SCENES, TEST_SCENES = 6000, 600
FEWEST, MOST = 5, 6  # things in a scene: what is asked for, what differs from it in one word, and others
ABSENT = 0.25  # share of the prompts that name what is not there, in training and in the test

WIDTHS, WIDTH = (32, 64, 128), 64  # of the pyramid, and of decoder and head
TOKEN_WIDTH = 384  # of the token states that are learned
NOISE = 2.0  # standard deviations on the standardised token states, while a head learns
BATCH, RATE, EYES_RATE, DECAY = 48, 2e-3, 3e-3, 0.01
POINTS = 128  # cells of the 1,600 that a step of a head looks at
WARM_UP = 0.1  # of the steps, then a cosine
PRESENT = 0.5  # below this presence a mask is empty
UNKNOWN = 0.1  # of the words a bag of words learns from, so that it knows what an unknown word is like

Kind = Literal["pretrained", "untrained", "control"]
# arm -> what it knows: pretrained on text; learnt from these prompts alone; a ceiling and a floor
ARMS: dict[str, Kind] = {
    "mpnet": "pretrained",  # all-mpnet-base-v2, the states behind layer 8 of 12
    "minilm": "pretrained",  # all-MiniLM-L6-v2, behind layer 4 of 6
    "embeddings": "pretrained",  # the word embeddings of all-MiniLM-L6-v2, without its layers
    "random": "untrained",  # the layers of mpnet with weights nobody trained
    "bag": "untrained",  # a learned vector for each word
    "ids": "control",  # the concepts themselves in place of words: the ceiling
    "withheld": "control",  # one token, whatever the prompt is: the floor
}
LAYERS = {"mpnet": 8, "minilm": 4, "embeddings": 0, "random": 8}

# what is new in a test: the words of some attributes, the template, the pair of colour and shape
CONDITIONS: dict[str, tuple[tuple[str, ...], bool, bool]] = {
    "seen": ((), False, False),
    "templates": ((), True, False),
    "words": (("colour", "shape", "texture"), False, False),
    "colour": (("colour",), False, False),
    "shape": (("shape",), False, False),
    "texture": (("texture",), False, False),
    "combinations": ((), False, True),
}
CURVE_ARMS = ("mpnet", "minilm", "embeddings", "random", "bag")
CURVE_CONDITIONS = ("seen", "words")

# gIoU and the last three as Liu, Ding and Jiang (2023, "GRES") define them, for masks as a run decides them;
# the others are of prompts that name something there, and need no threshold
FIGURES = {
    "giou": "gIoU: the mean IoU of all prompts; of what is absent an empty mask has 1, any other 0",
    "told": "Told that it is there: the mean IoU of what is at least half as likely as the likeliest pixel",
    "pointed": "Pointing: of the prompts that name something there, those whose likeliest pixel is on it",
    "ciou": "cIoU: the pixels in both mask and truth, by those in either, over all prompts",
    "n_acc": "N-acc.: of the prompts that name something absent, those whose mask is empty",
    "t_acc": "T-acc.: of the others, those whose mask is not",
}
# The rule is asked twice: of gIoU, with masks as a run decides them, and of what a model finds that is told
# that what the prompt names is there. For no word is sure that was never trained on: trials in a world of
# concepts without pixels, with other seeds, gave next to nothing but empty masks by the first.
RULED = ("giou", "told")
CEILING = 0.85  # gIoU of ids on seen words, or the eyes are undertrained and the test is void
BENEFIT, SAME = 0.10, 0.02  # the interval on new words lies above, seen words differ by less


@dataclass(frozen=True)
class Budget:
    """How much is trained.

    Attributes:
        seeds: of the words' split, the order of the prompts and the weights of the heads; the eyes are one
            pair for all.
        words: trained words a concept, of the comparison.
        curve, curve_seeds: the others for the curve, and for which of the seeds.
        texts: prompts for each colour, shape and texture together, in training and in each test.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    words: int = 2
    curve: tuple[int, ...] = (1, 4, 6)
    curve_seeds: tuple[int, ...] = (0, 1)
    eyes_steps: int = 1500
    head_steps: int = 900
    train_scenes: int = TRAIN_SCENES
    test_scenes: int = TEST_SCENES
    texts: tuple[int, int] = (12, 2)
    arms: tuple[str, ...] = field(default=(*ARMS,))
