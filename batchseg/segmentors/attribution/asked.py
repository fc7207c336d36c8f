"""A model as a run asks it, for whoever asks about pictures that differ a little from the run's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from batchseg.segmentors.base import Segmentor
from batchseg.segmentors.combined.decision import Answer
from batchseg.segmentors.combined.looks import Looks, Picture


@dataclass(frozen=True)
class Asked:
    """The members of a run and how they look at a picture, all of it at once.

    Attributes:
        prompt: what is meant in the picture, for a model that is told so image by image.
    """

    members: Sequence[Segmentor]
    looks: Looks
    prompt: str | None = None

    def answers(self, pictures: Sequence[Picture]) -> list[list[Answer]]:
        """What all members say of each picture, in all views. The pictures have one size.

        Raises whatever a preparer or a model raises.
        """
        height, width = pictures[0].pixels_HWC.shape[:2]
        looks = [list(self.looks.inputs(picture, (height, width))) for picture in pictures]
        found: list[list[Answer]] = [[] for _ in pictures]
        for alike in zip(*looks, strict=True):
            inputs = [replace(look.model_input, prompt=self.prompt) for look in alike]
            scores = self.members[alike[0].member].scores(inputs)
            for answers, look, each in zip(found, alike, scores, strict=True):
                answers.append(Answer(each, look.member, look.flip, look.number))
        return found
