"""What models that read one size alone can be asked to look at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from batchseg.config.looks import Views
from batchseg.errors import ConfigError
from batchseg.segmentors.combined.decision import Decision
from batchseg.segmentors.combined.looks import Looks
from batchseg.segmentors.threshold import Identity


class OneSize(Identity):
    def input_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        return 64, 64


def looks(preparer: Identity, **views: Any) -> Looks:
    checkpoint: Any = SimpleNamespace(preparer=lambda as_is=False: preparer)
    return Looks.of([checkpoint], Decision(2), None, Views(**views))


def test_a_model_that_reads_one_size_alone_has_no_views_of_others() -> None:
    assert looks(OneSize(), flip=("horizontal",)).views.count == 2
    assert looks(Identity(), scales=(1.0, 2.0)).views.count == 2
    with pytest.raises(ConfigError, match=r"views\.scales: the model reads pictures of one size alone"):
        looks(OneSize(), scales=(1.0, 2.0))
