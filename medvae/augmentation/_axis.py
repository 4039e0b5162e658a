"""Positions of the slices of a series along their normal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvae.records import Series

__all__ = ["Axis"]


@dataclass(frozen=True)
class Axis:
    """Positions of the slices of a series along their normal.

    Attributes:
        places: Positions of the slices, all distinct.
        gap: Distance between adjacent slices.
        in_space: Whether positions are in millimetres, increasing in the same direction through the
            patient in all series of one orientation; otherwise they are slice numbers.
    """

    places: Sequence[float]
    gap: float
    in_space: bool

    @classmethod
    def of(cls, series: Series) -> Axis:
        """Return the axis of a series: in space if the positions of its slices are monotonic."""
        normal = series.slices[0].geometry.normal
        positions = [native.geometry.position for native in series.slices]
        known = [position for position in positions if position is not None]
        if normal is None or len(known) < max(2, len(positions)):
            return cls.counted(series)
        upwards = np.sign(max(normal, key=abs))
        places = upwards * (np.array(known) * normal).sum(axis=1)
        steps = np.diff(places)
        if not ((steps > 0).all() or (steps < 0).all()):
            return cls.counted(series)
        return cls(places.tolist(), float(np.median(np.abs(steps))), True)

    @classmethod
    def counted(cls, series: Series) -> Axis:
        """Return the axis whose positions are slice numbers."""
        return cls([float(place) for place in range(len(series.slices))], 1.0, False)

    @classmethod
    def of_both(cls, one: Series, other: Series) -> tuple[Axis, Axis]:
        """Return the axes of two series: in space if both can be, otherwise both counted."""
        axes = cls.of(one), cls.of(other)
        known = all(axis.in_space for axis in axes)
        return axes if known else (cls.counted(one), cls.counted(other))

    def room(self, below: float, above: float) -> list[int]:
        """Return the indices of slices with at least ``below`` and ``above`` on either side."""
        first, last = min(self.places) - self.gap / 2, max(self.places) + self.gap / 2
        return [
            index
            for index, place in enumerate(self.places)
            if place - below >= first and place + above <= last
        ]
