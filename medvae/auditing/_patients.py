"""Estimates with intervals and baselines: splits by patient, and the bootstrap over patients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from medvae.auditing._statistic import Estimate
from medvae.randomness import generator

Groups = Sequence[tuple[str, ...]]
"""The patients in each slice, starting with the one of whom it shows most."""

Rows = NDArray[np.intp]
Weights = NDArray[np.float64]

_DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Halves:
    """Two sets, each split in two by patient: no patient is on both sides.

    Attributes:
        real, synthetic: Indices of the slices on either side. A slice with patients of both sides
            is on neither.
    """

    real: tuple[Rows, Rows]
    synthetic: tuple[Rows, Rows]


def halve(real: Groups, synthetic: Groups, seed: int, *key: str | int) -> Halves:
    """Split the patients of both sets into two halves.

    A patient is on the same side in both sets, so a synthetic slice is on the side of its source.

    Args:
        real: Patients of the real slices.
        synthetic: Patients of the synthetic slices.
        seed: Random seed for all splits.
        key: Key of this split.
    """
    known, made = patients_in(real), patients_in(synthetic)
    random = generator(seed, "halves", *key)
    sides: dict[str, int] = {}
    for patients in (known & made, known - made, made - known):
        # Patients of one set continue the alternation of the shared ones, so that each set is on
        # both sides.
        first = len(known & made) if sides else 0
        for place, patient in enumerate(random.permutation(sorted(patients)).tolist(), first):
            sides[patient] = place % 2
    return Halves(_on_sides(real, sides), _on_sides(synthetic, sides))


def _on_sides(groups: Groups, sides: dict[str, int]) -> tuple[Rows, Rows]:
    of_slices = [{sides[patient] for patient in patients} for patients in groups]
    first, second = (
        np.array([row for row, of in enumerate(of_slices) if of == {side}], np.intp)
        for side in (0, 1)
    )
    return first, second


def patients_in(groups: Groups) -> set[str]:
    """Return all patients of some slices."""
    return {patient for patients in groups for patient in patients}


def resampled(*sets: Groups, seed: int, draws: int = _DRAWS) -> Iterator[tuple[Weights, ...]]:
    """Resample patients with replacement: the bootstrap over patients.

    Args:
        sets: Patients of each slice, for one or more sets.
        seed: Random seed for the draws.
        draws: Number of draws.

    Yields:
        The weight of each slice of each set: the product of the counts of its patients.
    """
    patients = sorted(set().union(*map(patients_in, sets)))
    index = {patient: number for number, patient in enumerate(patients)}
    owners = [np.array([index[p] for of in groups for p in of], np.intp) for groups in sets]
    starts = [np.cumsum([0, *map(len, groups)])[:-1] for groups in sets]
    random = generator(seed, "bootstrap")
    even = np.full(len(patients), 1 / len(patients))
    for _ in range(draws):
        counts = random.multinomial(len(patients), even).astype(np.float64)
        yield tuple(
            np.multiply.reduceat(counts[of], start)
            for of, start in zip(owners, starts, strict=True)
        )


def interval(numbers: Iterable[float], patients: int | None = None) -> tuple[float, float]:
    """Return the 95 % interval of the finite numbers; nan if none is finite.

    Args:
        numbers: Values from repeated draws.
        patients: Number of patients that were resampled. The bootstrap is too narrow for few of
            them, so the percentiles are expanded by Student's distribution (Hesterberg 2015).
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
    """Return the share of marked slices, with its interval over their patients.

    If all slices or none are marked, the bootstrap gives no interval. The interval is then at
    least as wide as for n patients of whom none differs: 1 - 0.05^(1/n), the rule of three.

    Args:
        marks: One mark for each slice, at least one in all; if uncertain, its expected credit.
        groups: Patients of each slice.
        seed: Random seed for the bootstrap.
        baseline: The same share of real slices.
    """
    numbers, patients = marks.astype(np.float64), len(patients_in(groups))
    drawn = [numbers @ w / w.sum() for (w,) in resampled(groups, seed=seed) if w.any()]
    value, low, high = np.clip((numbers.mean(), *interval(drawn, patients)), 0, 1).tolist()
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
        groups: Patients of each of these slices.
        other_marks: One mark for each slice of the set that it is compared with.
        other_groups: Patients of each of those slices.
        seed: Random seed for the bootstrap.
    """
    numbers, others = marks.astype(np.float64), other_marks.astype(np.float64)
    drawn = [
        numbers @ own / own.sum() - others @ theirs / theirs.sum()
        for own, theirs in resampled(groups, other_groups, seed=seed)
        if own.any() and theirs.any()
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

    def weighted(weights: Weights) -> float:
        # Each number is placed at the middle of its weight.
        below = np.cumsum(weights) - weights / 2
        return float(np.interp(percent / 100 * weights.sum(), below, ordered))

    drawn = [weighted(w[order]) for (w,) in resampled(groups, seed=seed) if w.any()]
    return Estimate(weighted(np.ones(len(numbers))), *interval(drawn, len(patients_in(groups))))
