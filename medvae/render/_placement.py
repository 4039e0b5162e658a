"""Mapping of images, fields and points from the grid over the canvas to native pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medvae.intensity import Canvas
from medvae.render._fields import exponential, jacobian
from medvae.render._registration import GRID

_LEAST_JACOBIAN = 0.1
"""At 0 the image folds; a more than tenfold change of area is not anatomical either."""

_WEAKER = 0.8

_INVERSIONS = 10

Taps = list[tuple[Tensor, Tensor]]
"""For each of four neighbouring cells, its index and its weight, one for each native pixel."""


@dataclass(frozen=True, eq=False)
class Placement:
    """The placement of native pixels on the grid, with a cubic B-spline between its cells.

    The spline has a continuous second derivative and stays within the values of its cells: no
    ripple of the grid appears in the image, and what is 0 stays 0.

    Attributes:
        rows, columns: Cells and weights for each native row and for each native column.
        cell: Size of a cell in native pixels along x and y, negative where the canvas is flipped.
    """

    rows: Taps
    columns: Taps
    cell: tuple[float, float]

    @classmethod
    def of(cls, canvas: Canvas, device: torch.device) -> Placement:
        """Create the placement of a slice from its canvas."""
        rows, columns = canvas.native
        place = GRID / canvas.size
        x = _points(canvas, np.arange(0.5, columns), np.zeros(columns))[:, 0] * place
        y = _points(canvas, np.zeros(rows), np.arange(0.5, rows))[:, 1] * place
        corners = _points(canvas, np.array([0.0, columns]), np.array([0.0, rows])) * place
        across, down = corners[1] - corners[0]
        cell = (float(columns / across), float(rows / down))
        return cls(_taps(y, device), _taps(x, device), cell)

    def picture(self, values: Tensor) -> Tensor:
        """Map ``[C, GRID, GRID]`` to native ``[C, rows, columns]``."""
        along = _sum(values.index_select(2, cell) * weight for cell, weight in self.columns)
        return _sum(along.index_select(1, cell) * weight[:, None] for cell, weight in self.rows)

    def field(self, displacement: Tensor) -> Tensor:
        """Map a field ``[2, GRID, GRID]`` in cells to native ``[2, rows, columns]`` in pixels."""
        scale = torch.tensor(self.cell, device=displacement.device)[:, None, None]
        return self.picture(displacement * scale)


def _points(canvas: Canvas, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map native points onto the canvas, ``[N, 2]``."""
    return canvas.boxes(np.stack((x, y, x, y), axis=1))[:, :2]


def _taps(places: NDArray[np.float64], device: torch.device) -> Taps:
    """Return the cubic B-spline taps for locations on the grid, in cells from its edge."""
    first = np.floor(places - 0.5)
    t = places - 0.5 - first
    weights = (
        (1 - t) ** 3 / 6,
        2 / 3 - t**2 + t**3 / 2,
        2 / 3 - (1 - t) ** 2 + (1 - t) ** 3 / 2,
        t**3 / 6,
    )
    return [
        (
            torch.from_numpy((first + step).clip(0, GRID - 1).astype(np.int64)).to(device),
            torch.from_numpy(weight.astype(np.float32)).to(device),
        )
        for step, weight in zip((-1, 0, 1, 2), weights, strict=True)
    ]


def _sum(terms: Iterable[Tensor]) -> Tensor:
    """Add the terms in the order given."""
    return reduce(torch.add, terms)


@dataclass(frozen=True, eq=False)
class NativeField:
    """The effect of a velocity on the pixels and points of a slice.

    Attributes:
        velocity: Velocity ``[2, GRID, GRID]`` in cells.
        placement: Placement of the slice on the grid.
    """

    velocity: Tensor
    placement: Placement

    @cached_property
    def on_grid(self) -> Tensor:
        """The displacement to where values come from, ``[2, GRID, GRID]`` in cells."""
        return exponential(self.velocity[None])[0]

    @cached_property
    def displacement(self) -> Tensor:
        """The displacement to where values come from, ``[2, rows, columns]`` in pixels."""
        return self.placement.field(self.on_grid)

    @cached_property
    def _way_back(self) -> Tensor:
        return self.placement.field(exponential(-self.velocity[None])[0])

    @cached_property
    def jacobian(self) -> tuple[float, float]:
        """The least and the greatest determinant anywhere: below 1 where the image expands."""
        least, greatest = jacobian(self.displacement).aminmax()
        return float(least), float(greatest)

    def forward(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where points of the source, ``[N, 2]`` as x and y in pixel edges, move to.

        The opposite velocity leads there except for rounding by the grids; that error is
        subtracted iteratively until ``p + u(p)`` is the point again.
        """
        aim = points.copy()
        for _ in range(_INVERSIONS):
            reached = aim + self._at(aim, self._way_back)
            aim += points - (reached + self._at(reached, self.displacement))
        return aim + self._at(aim, self._way_back)

    @staticmethod
    def _at(points: NDArray[np.float64], field: Tensor) -> NDArray[np.float64]:
        """Interpolate a field, ``[2, rows, columns]``, at points in pixel edges."""
        rows, columns = field.shape[1:]
        places = torch.from_numpy((points * 2 / (columns, rows) - 1).astype(np.float32))
        found = functional.grid_sample(
            field[None],
            places.to(field.device)[None, None],
            padding_mode="border",
            align_corners=False,
        )
        return found[0, :, 0].T.cpu().numpy().astype(np.float64)


def without_folds(velocity: Tensor, placement: Placement) -> tuple[NativeField, int]:
    """Return the field of a velocity ``[2, GRID, GRID]``, weakened until no fold is left.

    Returns:
        The field, and how often the velocity was weakened.
    """
    field = NativeField(velocity, placement)
    weakened = 0
    while field.jacobian[0] < _LEAST_JACOBIAN:
        weakened += 1
        field = NativeField(velocity * _WEAKER**weakened, placement)
    return field, weakened
