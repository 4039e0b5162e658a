"""The limits that candidates must keep, as measured on real slices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

__all__ = ["Limits"]

_FEWEST = 40
"""Smallest number of values from which a low or high percentile can be taken."""


class _Rule(NamedTuple):
    """How a limit is derived from values: their percentile, clipped to two bounds."""

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
    """Limits for synthetic slices, taken from real ones.

    A limit is a percentile of the values measured on real slices, clipped to bounds: neighbours
    that are a millimetre apart are too alike, and those a centimetre apart too different, to show
    how far a lesion may be varied. With fewer than 40 values the default is used.

    Attributes:
        contrast: Factor by which the contrast of a finding may grow or shrink; 95 % of pairs that
            show the same finding on neighbouring slices stay within it.
        visibility: Smallest contrast-to-noise ratio of a finding; 97.5 % of real ones exceed it.
        similarity: Smallest structural similarity in the box; 95 % of those pairs exceed it.
        area: Factor by which a box may grow or shrink; 95 % of those pairs stay within it.
        jacobian: Smallest Jacobian determinant of a field. Not taken from real slices: a pixel that
            shrinks to a tenth of its area shows nothing any more.
        distance: Smallest distance to a real slice; 99 % of neighbours are farther apart.
        change: Smallest change that a transplant makes in its box; 97.5 % of neighbours differ more
            in the box of a finding.
        remoteness: Largest distance to the nearest latents of the training set, in units of its
            spread; 99 % of its slices are nearer to those of other patients. The default is about
            the distance between two of them drawn at random.
        measured: Number of values behind each limit; limits left at their default are absent.
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
        """Return the limits for values, in any order, given by the name of the limit."""
        enough = {name: found for name, found in numbers.items() if len(found) >= _FEWEST}
        limits = {}
        for name, found in enough.items():
            percentile, least, most = _RULES[name]
            limits[name] = float(np.clip(np.percentile(found, percentile), least, most))
        return cls(**limits, measured={name: len(found) for name, found in enough.items()})
