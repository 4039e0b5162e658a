"""Where the slices of a series lie along their normal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvae.records import Series

__all__ = ["Axis"]


@dataclass(frozen=True)
class Axis:
    """Where the slices of a series lie along their normal.

    Attributes:
        places: of the slices, no two the same.
        gap: from slice to slice.
        in_space: places are millimetres, which grow the same way through the patient in all series
            of one orientation; else the slices are counted.
    """

    places: Sequence[float]
    gap: float
    in_space: bool

    @classmethod
    def of(cls, series: Series) -> Axis:
        """Take the axis of a series: in space, where its slices have places in a row."""
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
        """Count the slices."""
        return cls([float(place) for place in range(len(series.slices))], 1.0, False)

    @classmethod
    def of_both(cls, one: Series, other: Series) -> tuple[Axis, Axis]:
        """Take the axes of two series: in space where both can be, else both counted."""
        axes = cls.of(one), cls.of(other)
        known = all(axis.in_space for axis in axes)
        return axes if known else (cls.counted(one), cls.counted(other))

    def room(self, below: float, above: float) -> list[int]:
        """Return the slices with so much of the series below and above them."""
        first, last = min(self.places) - self.gap / 2, max(self.places) + self.gap / 2
        return [
            index
            for index, place in enumerate(self.places)
            if place - below >= first and place + above <= last
        ]
