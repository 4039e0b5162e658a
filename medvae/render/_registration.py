"""Finds how one decoded picture must be deformed to become another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medvae.intensity import Canvas
from medvae.render._fields import exponential, gradient, pull, smooth

__all__ = ["GRID", "on_grid", "velocity"]

GRID = 56
"""Cells of the velocity's grid along each side of the canvas, whatever its size.

Decoded pictures hold nothing finer, and on so few cells a field costs less than the decode.
"""

_LEVELS = 3
"""Of the search, each with half the cells of the next."""

_ITERATIONS = 8
"""On each level."""

_STIFFNESS = 1.3
"""Sigma in cells by which the velocity is smoothed in each iteration."""

_SQUARINGS = 3
"""During the search; the field that is used is made in more steps."""

_FLAT = 1e-3
"""Squared slope, in units of the canvas by cell, below which a difference moves little."""


def on_grid(pictures: Tensor) -> Tensor:
    """Average decoded pictures ``[N, 1, size, size]`` over the cells, ``[N, 1, GRID, GRID]``."""
    return functional.adaptive_avg_pool2d(pictures.float(), GRID)


def velocity(source: Tensor, target: Tensor, canvases: Sequence[Canvas]) -> Tensor:
    """Find the velocity whose exponential pulls each source onto its target.

    These are log-domain demons, from coarse to fine: each iteration adds the force to the
    velocity and smooths the sum. Across the slice's own border nothing moves, so that the slice
    is mapped onto itself and nothing leaves it or comes in.

    Args:
        source, target: pictures on the grid, ``[N, 1, GRID, GRID]``.
        canvases: where the slices lie on the canvas.

    Returns:
        ``[N, 2, GRID, GRID]`` in cells, exactly 0 where source and target are equal throughout.
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

    Along its left and right border a cell may move up and down, and so on.
    """
    free = np.empty((len(canvases), 2, GRID, GRID), dtype=np.float32)
    centres = np.arange(GRID) + 0.5
    for item, canvas in zip(free, canvases, strict=True):
        rows, columns = canvas.native
        whole = np.array([[0, 0, columns, rows]], dtype=np.float64)
        x0, y0, x1, y1 = canvas.boxes(whole)[0] * (GRID / canvas.size)
        # The interpolation to native pixels reaches two cells far.
        item[0] = (np.minimum(centres - x0, x1 - centres) / 2 - 0.5).clip(0, 1)
        item[1] = (np.minimum(centres - y0, y1 - centres) / 2 - 0.5).clip(0, 1)[:, None]
    return torch.from_numpy(free).to(device)
