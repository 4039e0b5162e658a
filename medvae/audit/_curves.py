"""Performance curves of a classifier, from its scores and a weight for each slice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve", "Ranking"]

_POINTS = 201

Numbers = NDArray[np.float64]


class Curve(NamedTuple):
    """At most 201 points of a curve in the unit square."""

    x: Numbers
    y: Numbers


class Ranking:
    """The scores of real and synthetic slices, sorted once for many weightings.

    Each set counts as half of all slices, whatever the sum of its weights.

    Args:
        real: Scores ``[N]``, at least one.
        synthetic: Scores ``[M]``, at least one, which should be higher.
    """

    def __init__(self, real: Numbers, synthetic: Numbers) -> None:
        # Ranks from the highest score to the lowest; equal scores share one.
        _, places = np.unique(-np.concatenate((real, synthetic)), return_inverse=True)
        self._count = int(places.max()) + 1
        self._real, self._synthetic = places[: len(real)], places[len(real) :]

    def _rates(self, real: Numbers | None, synthetic: Numbers | None) -> tuple[Numbers, Numbers]:
        """Return the share of each set at or above each score, from 0 to 1."""
        rates = []
        for places, weights in ((self._real, real), (self._synthetic, synthetic)):
            amounts = np.bincount(places, weights, self._count).astype(np.float64)
            rates.append(np.concatenate(([0.0], np.cumsum(amounts) / amounts.sum())))
        return rates[0], rates[1]

    def auc(self, real: Numbers | None = None, synthetic: Numbers | None = None) -> float:
        """Return the area under the ROC curve: how often a synthetic slice scores higher.

        Args:
            real, synthetic: Weights of the slices; by default, 1 for all. A set whose weights
                are all 0 gives NaN.
        """
        with np.errstate(invalid="ignore"):
            false, true = self._rates(real, synthetic)
        return float(np.trapezoid(true, false))

    def average_precision(
        self, real: Numbers | None = None, synthetic: Numbers | None = None
    ) -> float:
        """Return the mean precision over all recalls, with weights as in `auc`."""
        with np.errstate(invalid="ignore"):
            false, true = self._rates(real, synthetic)
            return float(np.sum(np.diff(true) * _precision(false, true)[1:]))

    def roc(self) -> Curve:
        """Return the sensitivity at evenly spaced false positive rates."""
        at = np.linspace(0, 1, _POINTS)
        return Curve(at, np.interp(at, *self._rates(None, None)))

    def precision_recall(self) -> Curve:
        """Return the precision at evenly spaced recalls."""
        false, true = self._rates(None, None)
        at = np.linspace(0, 1, _POINTS)
        return Curve(at, np.interp(at, true[1:], _precision(false, true)[1:]))

    def ranks(self) -> tuple[Numbers, Numbers]:
        """Return the rank of each slice among all: 0 for the lowest score, 1 for the highest."""
        last = max(self._count - 1, 1)
        return 1 - self._real / last, 1 - self._synthetic / last


def _precision(false: Numbers, true: Numbers) -> Numbers:
    total = false + true
    precision: Numbers = np.divide(true, total, out=np.ones_like(total), where=total != 0)
    return precision
