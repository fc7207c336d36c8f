"""What the figures of the page are called, and what they mean: the words of the reference, for a reader."""

from __future__ import annotations

from typing import NamedTuple


class Definition(NamedTuple):
    """A figure's name for a heading, and its meaning in a sentence or two."""

    name: str
    meaning: str


_COUNTED = "Over all pixels with truth of all images together, not as a mean over images."
_MACRO = "A mean over the classes that occur in truth or prediction, each counting the same."

DEFINITIONS = {
    "mean_iou": Definition(
        "Mean IoU",
        f"Of each class: pixels right / (pixels true or predicted). {_MACRO} {_COUNTED}",
    ),
    "accuracy": Definition("Accuracy", f"Pixels right / pixels with truth. {_COUNTED}"),
    "recall_weighted": Definition(
        "Recall, weighted",
        f"Recall of each class, weighted by its true pixels; by algebra it equals accuracy. {_COUNTED}",
    ),
    "f1_weighted": Definition("F1, weighted", f"F1 of each class, weighted by its true pixels. {_COUNTED}"),
    "recall_macro": Definition(
        "Recall, macro", f"Of each class: pixels right / true pixels. {_MACRO} {_COUNTED}"
    ),
    "f1_macro": Definition(
        "F1, macro",
        f"Of each class: the harmonic mean of precision and recall, which equals Dice. {_MACRO} {_COUNTED}",
    ),
    "precision_macro": Definition(
        "Precision, macro", f"Of each class: pixels right / pixels predicted. {_MACRO} {_COUNTED}"
    ),
    "giou": Definition(
        "gIoU",
        "The IoU of what each prompt names, a mean over the images with a prompt and a truth. It is 1 where "
        "that is in neither truth nor mask.",
    ),
    "ciou": Definition(
        "cIoU", "Of what the prompts name: the sum of all intersections / the sum of all unions."
    ),
    "no_target_accuracy": Definition(
        "N-acc", "Of the images without what their prompt names, the share whose mask is empty."
    ),
    "confidence_mean": Definition(
        "Mean confidence",
        "The probability of the most probable class, averaged over the pixels of an image and then over the "
        "images. How sure the model is says nothing of how right it is.",
    ),
    "entropy_mean": Definition(
        "Mean entropy",
        "Entropy of the classes' probabilities over log(classes): 0 where the model is sure of one class, 1 "
        "where all are alike. Averaged over the pixels of an image and then over the images.",
    ),
    "low_confidence_fraction": Definition(
        "Low confidence",
        "The fraction of an image whose most probable class has a probability below 0.5, averaged over the "
        "images.",
    ),
    "ece": Definition(
        "Calibration error",
        "Expected calibration error: the distance between confidence and accuracy in 15 bins of confidence, "
        "weighted by their pixels. 0 is best.",
    ),
    "brier": Definition(
        "Brier score",
        "Mean squared distance of the probabilities from the truth, over the probed pixels. 0 is best.",
    ),
    "nll": Definition(
        "Log loss",
        "Mean negative logarithm of the true class's probability, over the probed pixels. 0 is best.",
    ),
    "boundary_iou": Definition(
        "Boundary IoU",
        "IoU of the bands along each class's boundary; a mean over classes, then images.",
    ),
    "nsd": Definition(
        "Surface distance",
        "Normalised surface distance: the share of boundary within the tolerance of the other side's; a mean "
        "over classes, then images.",
    ),
    "hd95": Definition(
        "Hausdorff 95 %",
        "95th percentile of the distances between boundaries, of classes on both sides; a mean over classes, "
        "then images.",
    ),
    "panoptic_quality": Definition(
        "Panoptic quality", "Of objects matched at IoU above 0.5; a mean over classes, then images."
    ),
    "object_recall": Definition(
        "Object recall", "Objects of the truth that are matched / all of them; a mean over the images."
    ),
    "false_positives": Definition(
        "False objects", "Predicted objects without a match; a mean over the images."
    ),
    "iou": Definition("IoU", "Pixels right / (pixels true or predicted)."),
    "precision": Definition("Precision", "Pixels right / pixels predicted; blank where none was predicted."),
    "recall": Definition("Recall", "Pixels right / true pixels; blank where the class is not in the truth."),
    "f1": Definition("F1", "2 x right / (true + predicted); equals Dice."),
    "support": Definition("Support", "Pixels of the class in the truth."),
    "predicted_pixels": Definition("Predicted", "Pixels predicted as the class, with truth or without."),
    "share": Definition("Share of area", "Of all predicted pixels."),
}
