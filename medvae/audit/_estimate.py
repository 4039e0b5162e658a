"""A number with what gives it a meaning, and the slices of a set as statistics see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "Groups", "Pool"]

Groups = Sequence[tuple[str, ...]]
"""Of each slice, the patients in it; the first is the one that it shows most of."""


@dataclass(frozen=True)
class Estimate:
    """A number that means something.

    Attributes:
        value: what was measured.
        low, high: where 95 % of the values lie that other patients of the same kind would give.
        baseline: the same between real slices of some patients and of others; None where there
            can be none.
    """

    value: float
    low: float
    high: float
    baseline: float | None = None

    def as_json(self) -> dict[str, float | None]:
        """Return the numbers by name; null for what is not finite."""
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
    """One of the sets that are compared, N slices.

    Attributes:
        pictures: ``[N, S, S]`` on the model's canvas: float32 in [0, 1], or uint8 in 0 to 255. It
            may lie on the disk, and is never taken as a whole.
        groups: of each slice, the patients in it, the one that it shows most of first.
        keys: of the slices, all different.
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
        """Return some of the pictures in [0, 1], ``[B, S, S]``."""
        pictures = np.asarray(self.pictures[rows])
        if pictures.dtype == np.uint8:
            return pictures.astype(np.float32) / np.float32(255)
        return pictures.astype(np.float32)
