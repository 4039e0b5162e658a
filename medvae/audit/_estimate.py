"""Estimates with intervals and baselines, and the slices of a set as input to statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "Groups", "Pool"]

Groups = Sequence[tuple[str, ...]]
"""The patients in each slice, starting with the one of whom it shows most."""


@dataclass(frozen=True)
class Estimate:
    """A measured value with its interval and its baseline.

    Attributes:
        value: Measured value.
        low, high: Bounds of 95 % of the values that other patients of the same kind would give.
        baseline: Value between real slices of some patients and of others; None if there cannot be
            one.
    """

    value: float
    low: float
    high: float
    baseline: float | None = None

    def as_json(self) -> dict[str, float | None]:
        """Return the numbers by name, with None for those that are not finite."""
        numbers = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "baseline": self.baseline,
        }
        return {
            name: float(number) if number is not None and math.isfinite(number) else None
            for name, number in numbers.items()
        }


@dataclass(frozen=True, eq=False)
class Pool:
    """One of the compared sets, with N slices.

    Attributes:
        pictures: Pictures ``[N, S, S]`` on the model's canvas, float32 in [0, 1] or uint8 in 0 to
            255. The array may be on disk, and is never read as a whole.
        groups: Patients in each slice, starting with the one of whom it shows most.
        keys: Unique keys of the slices.
    """

    pictures: NDArray[np.float32] | NDArray[np.uint8]
    groups: tuple[tuple[str, ...], ...]
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        counts = {len(self.pictures), len(self.groups), len(self.keys)}
        if len(counts) > 1 or not all(self.groups):
            raise ValueError(f"a pool needs a picture, a key and patients for each slice: {counts}")

    def __len__(self) -> int:
        return len(self.keys)

    def batch(self, rows: slice | NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the pictures of the given rows in [0, 1], ``[B, S, S]``."""
        pictures = np.asarray(self.pictures[rows])
        if pictures.dtype == np.uint8:
            return pictures.astype(np.float32) / np.float32(255)
        return pictures.astype(np.float32)
