"""The limits that candidates must keep, as they are measured on real slices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

__all__ = ["Limits"]

_FEWEST = 40
"""Numbers of which a low or a high percentile can be taken."""


class _Rule(NamedTuple):
    """How a limit follows from numbers: their percentile, kept between two bounds."""

    percentile: float
    least: float
    most: float


_RULES: Mapping[str, _Rule] = {
    "contrast": _Rule(95, 1.5, 2.0),
    "visibility": _Rule(2.5, 0.1, 0.5),
    "similarity": _Rule(5, 0.2, 0.35),
    "area": _Rule(95, 2.5, 4.0),
    "distance": _Rule(1, 0.01, 0.1),
    "change": _Rule(2.5, 0.01, 0.06),
    "remoteness": _Rule(99, 0.0, math.inf),
}


@dataclass(frozen=True)
class Limits:
    """What real slices say of synthetic ones.

    A limit is a percentile of what was measured between real slices. It stays between bounds:
    neighbours that are a millimetre apart are too alike, and those a centimetre apart too unlike,
    to say how far a lesion may be varied. Where there are fewer than 40 numbers it is the default.

    Attributes:
        contrast: factor by which a finding's contrast may grow or shrink: what 95 % of pairs keep
            that show the same finding on neighbouring slices.
        visibility: least contrast-to-noise of a finding; 97.5 % of the real ones have more.
        similarity: least structural similarity in the box; 95 % of those pairs have more.
        area: factor by which a box may grow or shrink, as 95 % of those pairs do.
        jacobian: least determinant of a field. No real slices can say it: a pixel that shrinks to
            a tenth of its area shows nothing any more.
        distance: least distance to a real slice; 99 % of neighbours have more.
        change: least change that a transplant makes in its box; 97.5 % of neighbours differ more
            in the box of a finding.
        remoteness: greatest distance to the nearest latents of the training set, whose spread is
            1; 99 % of its slices have less to those of other patients. By default, about what two
            of them that are drawn at random have.
        measured: how many numbers each limit was taken from; defaults are not there.
    """

    contrast: float = 1.7
    visibility: float = 0.2
    similarity: float = 0.25
    area: float = 2.5
    jacobian: float = 0.1
    distance: float = 0.05
    change: float = 0.04
    remoteness: float = math.sqrt(2)
    measured: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, numbers: Mapping[str, Sequence[float]]) -> Limits:
        """Take the limits from numbers, in any order, by the name of the limit."""
        enough = {name: found for name, found in numbers.items() if len(found) >= _FEWEST}
        limits = {}
        for name, found in enough.items():
            percentile, least, most = _RULES[name]
            limits[name] = float(np.clip(np.percentile(found, percentile), least, most))
        return cls(**limits, measured={name: len(found) for name, found in enough.items()})
