"""Distributions of the boxes in the two sets: their sizes, positions and contrast-to-noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medvae.audit._estimate import Estimate
from medvae.audit._findings import ShownSlice
from medvae.audit._patients import halve, interval
from medvae.randomness import generator

__all__ = ["BoxMeasure", "Boxes", "compared", "measured"]

_SPLITS = 20

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BoxMeasure:
    """The distributions of one property of boxes in the two sets.

    Attributes:
        real, synthetic: Values of the property, one for each finding.
        difference: Kolmogorov-Smirnov statistic: the largest difference between the two cumulative
            distributions.
    """

    real: NDArray[np.float64]
    synthetic: NDArray[np.float64]
    difference: Estimate


@dataclass(frozen=True, eq=False)
class Boxes:
    """The N findings of one category in a set.

    Attributes:
        groups: Patients of each finding.
        measures: Properties by name, ``[N]`` each; NaN where one cannot be measured.
    """

    groups: tuple[tuple[str, ...], ...]
    measures: Mapping[str, Numbers]


def measured(slices: Sequence[ShownSlice], category: str) -> Boxes:
    """Return the measures of the findings of a category."""
    found = [(of.groups, one) for of in slices for one in of.findings if one.category == category]
    boxes = np.array([one.box for _, one in found]).reshape(-1, 4)
    sides, centres = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
    measures = {
        "width": sides[:, 0],
        "height": sides[:, 1],
        "x": centres[:, 0],
        "y": centres[:, 1],
        "contrast-to-noise": np.array([one.visibility for _, one in found]),
    }
    return Boxes(tuple(groups for groups, _ in found), measures)


def compared(real: Boxes, synthetic: Boxes, seed: int) -> dict[str, BoxMeasure]:
    """Compare the boxes of two sets, measure by measure; return {} if either set has no boxes."""
    if not real.groups or not synthetic.groups:
        return {}
    cuts = [halve(real.groups, synthetic.groups, seed, "boxes", n) for n in range(_SPLITS)]
    values: dict[str, list[float]] = {name: [] for name in real.measures}
    baselines: dict[str, list[float]] = {name: [] for name in real.measures}
    for split, cut in enumerate(cuts):
        one, other = split % 2, 1 - split % 2
        sides = (cut.real[one], cut.synthetic[other], cut.real[other])
        # The difference expected by chance depends on the number of boxes.
        count = min(map(len, sides))
        random = generator(seed, "boxes", split)
        here, there, beside = (random.permutation(rows)[:count] for rows in sides)
        for name, numbers in real.measures.items():
            values[name].append(_difference(numbers[here], synthetic.measures[name][there]))
            baselines[name].append(_difference(numbers[here], numbers[beside]))
    return {
        name: BoxMeasure(
            numbers,
            synthetic.measures[name],
            _estimate(np.array(values[name]), np.array(baselines[name])),
        )
        for name, numbers in real.measures.items()
    }


def _difference(one: Numbers, other: Numbers) -> float:
    """Return the Kolmogorov-Smirnov statistic, or NaN if one of the samples is empty."""
    one, other = one[np.isfinite(one)], other[np.isfinite(other)]
    return float(stats.ks_2samp(one, other).statistic) if len(one) and len(other) else float("nan")


def _estimate(values: Numbers, baselines: Numbers) -> Estimate:
    known, beside = values[np.isfinite(values)], baselines[np.isfinite(baselines)]
    value = float(known.mean()) if len(known) else float("nan")
    return Estimate(value, *interval(values), float(beside.mean()) if len(beside) else None)
