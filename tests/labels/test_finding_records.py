"""Findings as plain JSON, and back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medvae.geometry import Box
from medvae.labels import finding_from_record, finding_record
from medvae.records import Category, Finding, Mask

SHAPE = (12, 17)


@pytest.mark.parametrize("masked", [True, False])
def test_come_back_as_they_were(masked: bool) -> None:
    full = np.random.default_rng(0).random(SHAPE) > 0.6
    mask = Mask.of(full) if masked else None
    box = mask.box if mask else Box(1.25, 2.5, 9.0, 11.75)
    finding = Finding(Category("glioma", "lesion"), box, mask)
    record = json.loads(json.dumps(finding_record(finding, SHAPE)))
    assert finding_from_record(record, SHAPE) == finding
