"""Registration: the deformation that turns one decoded image into another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medvae.intensity import Canvas
from medvae.render._fields import exponential, gradient, pull, smooth

GRID = 56
"""Cells of the velocity's grid along each side of the canvas, whatever its size.

Decoded images contain nothing finer, and with so few cells a field costs less than decoding.
"""

_LEVELS = 3
"""Levels of the search, each with half as many cells along a side as the next."""

_ITERATIONS = 8
"""Iterations on each level."""

_STIFFNESS = 1.3
"""Sigma in cells of the smoothing of the velocity in each iteration."""

_SQUARINGS = 3
"""Squarings during the search; the field that is used is computed with more."""

_FLAT = 1e-3
"""Squared slope, in canvas units per cell, below which a difference moves little."""


def on_grid(pictures: Tensor) -> Tensor:
    """Average decoded images ``[N, 1, size, size]`` over the cells, ``[N, 1, GRID, GRID]``."""
    return functional.adaptive_avg_pool2d(pictures.float(), GRID)


def velocity(source: Tensor, target: Tensor, canvases: Sequence[Canvas]) -> Tensor:
    """Return the velocity whose exponential pulls each source onto its target.

    The algorithm is log-domain demons, from coarse to fine: each iteration adds the force to the
    velocity and smooths the sum. Nothing moves across the slice's own border, so that the slice
    is mapped onto itself and nothing leaves or enters it.

    Args:
        source, target: Images on the grid, ``[N, 1, GRID, GRID]``.
        canvases: Placements of the slices on the canvas.

    Returns:
        Velocities ``[N, 2, GRID, GRID]`` in cells, exactly 0 for an item whose source and target
        are equal.
    """
    differ = (source != target).flatten(1).any(dim=1)
    freedom = _freedom(canvases, source.device) * differ[:, None, None, None]
    levels = [torch.cat((source, target, freedom), dim=1)]
    for _ in range(_LEVELS - 1):
        levels.insert(0, functional.avg_pool2d(levels[0], 2))
    found = torch.zeros_like(levels[0][:, 2:])
    for level in levels:
        moving, fixed, free = level.split((1, 1, 2), dim=1)
        if found.shape != free.shape:
            found = 2 * functional.interpolate(found, scale_factor=2, mode="bilinear")
        for _ in range(_ITERATIONS):
            force = _force(pull(moving, exponential(found, _SQUARINGS)), fixed)
            found = smooth(found + force, _STIFFNESS) * free
    return found


def _force(moved: Tensor, target: Tensor) -> Tensor:
    """Return the step in cells, below one, that brings ``moved`` closer to ``target``."""
    difference = target - moved
    slope = (gradient(target) + gradient(moved)) * 0.5
    squares = slope * slope
    steepness = squares[:, :1] + squares[:, 1:]
    return slope * (difference / (steepness + difference * difference * 0.5 + _FLAT))


def _freedom(canvases: Sequence[Canvas], device: torch.device) -> Tensor:
    """Return how freely cells move, ``[N, 2, GRID, GRID]``: not at all across the slice's border.

    At the left and right borders, a cell may still move up and down, and vice versa.
    """
    free = np.empty((len(canvases), 2, GRID, GRID), dtype=np.float32)
    centres = np.arange(GRID) + 0.5
    for item, canvas in zip(free, canvases, strict=True):
        rows, columns = canvas.native
        whole = np.array([[0, 0, columns, rows]], dtype=np.float64)
        x0, y0, x1, y1 = canvas.boxes(whole)[0] * (GRID / canvas.size)
        # The interpolation to native pixels reaches as far as two cells.
        item[0] = (np.minimum(centres - x0, x1 - centres) / 2 - 0.5).clip(0, 1)
        item[1] = (np.minimum(centres - y0, y1 - centres) / 2 - 0.5).clip(0, 1)[:, None]
    return torch.from_numpy(free).to(device)
