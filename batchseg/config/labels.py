"""Relations between label maps: `batchseg labels map`."""

from __future__ import annotations

from pydantic import Field, model_validator

from batchseg.config.base import Model
from batchseg.config.places import Place

# Of 0.30, 0.35 ... 0.80 the one with the most classes in their right place, or rightly in none, over the five
# pairs of data sets in tests/labels/mseg.tsv, for MiniLM and MPNet (tests/bench/README.md, "Relations").
NONE_BELOW = 0.55


class MapLabelsConfig(Model):
    """A proposal where the classes of one label map go in another, for review: `batchseg labels map`."""

    from_labels: Place = Field(
        description="The model's classes: a label map by name, a YAML file, or the folder of a model."
    )
    to_labels: Place = Field(description="The classes that masks shall have: by name, or a YAML file.")
    language_model: Place | None = Field(
        None,
        description="Folder or hub name of a model that compares texts, such as all-MiniLM-L6-v2 or "
        "all-mpnet-base-v2. Null: classes of one name alone are brought together.",
    )
    none_below: float = Field(
        NONE_BELOW,
        ge=-1,
        le=1,
        description="A class whose best cosine is lower goes to none. The default is for the models above.",
    )
    output: Place | None = Field(None, description="New YAML file. Null: it is printed.")

    @model_validator(mode="after")
    def _cosines_of_a_model(self) -> MapLabelsConfig:
        if "none_below" in self.model_fields_set and self.language_model is None:
            raise ValueError("none_below needs a language_model, whose cosines it is of")
        return self
