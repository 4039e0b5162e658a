"""Splits by patient, and which numbers other patients would have given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from medvae.audit._estimate import Estimate, Groups
from medvae.randomness import generator

__all__ = [
    "Halves",
    "Part",
    "Rows",
    "Weights",
    "difference",
    "halve",
    "interval",
    "patients_in",
    "percentile",
    "redrawn",
    "share",
]

Rows = NDArray[np.intp]
Weights = NDArray[np.float64]

_DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Part:
    """Some slices of a set.

    Attributes:
        values: pictures or features of the whole set, ``[N, ...]``.
        rows: which of them.
    """

    values: NDArray[Any]
    rows: Rows


@dataclass(frozen=True, eq=False)
class Halves:
    """Both sets, cut in two between patients: no patient is on both sides.

    Attributes:
        real, synthetic: the slices on either side, by their places in the set. A slice of
            patients on both sides is on neither.
    """

    real: tuple[Rows, Rows]
    synthetic: tuple[Rows, Rows]


def halve(real: Groups, synthetic: Groups, seed: int, *key: str | int) -> Halves:
    """Put half of the patients of either set on one side, and the others on the other.

    A patient has one side for both sets: what was made of a slice is on the side of that slice.

    Args:
        real: patients of the real slices.
        synthetic: of the synthetic ones.
        seed: of all splits.
        key: of this one.
    """
    here, there = patients_in(real), patients_in(synthetic)
    random = generator(seed, "halves", *key)
    sides: dict[str, int] = {}
    for kind in (here & there, here - there, there - here):
        # Those of one set go on where those of both have ended: each set is on both sides.
        first = len(here & there) if sides else 0
        for place, patient in enumerate(random.permutation(sorted(kind)).tolist(), first):
            sides[patient] = place % 2
    return Halves(_on_sides(real, sides), _on_sides(synthetic, sides))


def _on_sides(groups: Groups, sides: dict[str, int]) -> tuple[Rows, Rows]:
    found = [{sides[patient] for patient in patients} for patients in groups]
    first, second = (
        np.array([row for row, on in enumerate(found) if on == {side}], np.intp) for side in (0, 1)
    )
    return first, second


def patients_in(groups: Groups) -> set[str]:
    """Return all patients of some slices."""
    return {patient for patients in groups for patient in patients}


def redrawn(*sets: Groups, seed: int, draws: int = _DRAWS) -> Iterator[tuple[Weights, ...]]:
    """Draw patients anew, with replacement, again and again: the bootstrap over patients.

    Args:
        sets: the patients of each slice of some sets.
        seed: of the draws.
        draws: how many.

    Yields:
        how often each slice of each set is there: the product of how often its patients are.
    """
    patients = sorted(set().union(*map(patients_in, sets)))
    place = {patient: index for index, patient in enumerate(patients)}
    who = [np.array([place[p] for of in groups for p in of], np.intp) for groups in sets]
    starts = [np.cumsum([0, *map(len, groups)])[:-1] for groups in sets]
    random = generator(seed, "bootstrap")
    even = np.full(len(patients), 1 / len(patients))
    for _ in range(draws):
        times = random.multinomial(len(patients), even).astype(np.float64)
        yield tuple(
            np.multiply.reduceat(times[of], start) for of, start in zip(who, starts, strict=True)
        )


def interval(numbers: Iterable[float], patients: int | None = None) -> tuple[float, float]:
    """Return where 95 % of the numbers lie that mean something; nan where none does.

    Args:
        numbers: of repeated draws.
        patients: how many were drawn anew; of a few, the bootstrap tells too little, and the
            percentiles are expanded as Student's distribution is (Hesterberg 2015).
    """
    finite = [number for number in numbers if np.isfinite(number)]
    if not finite:
        return float("nan"), float("nan")
    tail = 0.025
    if patients is not None:
        freedom = max(patients - 1, 1)
        tail = float(ndtr(np.sqrt((freedom + 1) / freedom) * stdtrit(freedom, tail)))
    low, high = np.percentile(finite, (100 * tail, 100 * (1 - tail)))
    return float(low), float(high)


def share(
    marks: NDArray[np.bool_ | np.float64],
    groups: Groups,
    seed: int,
    baseline: float | None = None,
) -> Estimate:
    """Return the share of slices that are marked, with its interval over their patients.

    Where all slices or none are marked no bootstrap can say how sure that is. Then the interval
    is as wide as that of n patients of whom none differs: 1 - 0.05^(1/n), the rule of three.

    Args:
        marks: one a slice, one of them at least; of a mark that is not sure, what it adds.
        groups: the patients of each.
        seed: of the bootstrap.
        baseline: the same share of real slices.
    """
    numbers, patients = marks.astype(np.float64), len(patients_in(groups))
    drawn = [numbers @ w / w.sum() for (w,) in redrawn(groups, seed=seed) if w.any()]
    found = np.clip((numbers.mean(), *interval(drawn, patients)), 0, 1)
    value, low, high = found.tolist()
    unseen = 1 - 0.05 ** (1 / patients)
    if value == 0:
        high = max(high, unseen)
    elif value == 1:
        low = min(low, 1 - unseen)
    return Estimate(value, low, high, baseline)


def difference(
    marks: NDArray[np.bool_],
    groups: Groups,
    other_marks: NDArray[np.bool_],
    other_groups: Groups,
    seed: int,
) -> Estimate:
    """Return how much larger one share of marked slices is than another, with its interval.

    Patients who are in both sets are drawn for both at once. Where none or all of the first set's
    slices are marked, the interval is as wide as that of `share`.

    Args:
        marks: One mark for each slice of the first set.
        groups: The patients of each of these slices.
        other_marks: One mark for each slice of the set that it is compared with.
        other_groups: The patients of each of those.
        seed: Seed of the bootstrap.
    """
    numbers, others = marks.astype(np.float64), other_marks.astype(np.float64)
    drawn = [
        numbers @ here / here.sum() - others @ there / there.sum()
        for here, there in redrawn(groups, other_groups, seed=seed)
        if here.any() and there.any()
    ]
    value, base = float(numbers.mean()), float(others.mean())
    low, high = interval(drawn, len(patients_in(groups)))
    unseen = 1 - 0.05 ** (1 / len(patients_in(groups)))
    if value == 0:
        high = max(high, unseen - base)
    elif value == 1:
        low = min(low, 1 - unseen - base)
    return Estimate(value - base, low, high)


def percentile(numbers: NDArray[np.float64], groups: Groups, percent: float, seed: int) -> Estimate:
    """Return a percentile of numbers, with its interval over the patients of their slices."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]

    def of(weights: Weights) -> float:
        # Each number stands at the middle of what it weighs.
        below = np.cumsum(weights) - weights / 2
        return float(np.interp(percent / 100 * weights.sum(), below, ordered))

    drawn = [of(weights[order]) for (weights,) in redrawn(groups, seed=seed) if weights.any()]
    return Estimate(of(np.ones(len(numbers))), *interval(drawn, len(patients_in(groups))))
