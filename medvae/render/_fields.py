"""Displacement fields on a grid of pixels.

There is one convention. A field ``u``, ``[N, 2, rows, columns]``, gives for each pixel of the
result how far away its value lies in the source: ``result(p) = source(p + u(p))``. Channel 0 runs
along the columns (x), channel 1 down the rows (y), both in pixels. A velocity field ``v`` has the
same form; integrating it over one unit of time gives ``u = exponential(v)``, and integrating ``-v``
gives the inverse.

Sums are written out term by term where a library call would choose their order by the size of the
batch or the number of threads: the result for an item must not depend on the others, to the bit.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

_SQUARINGS = 6


def pull(
    source: Tensor,
    field: Tensor,
    mode: Literal["bilinear", "bicubic"] = "bilinear",
    corner: tuple[int, int] = (0, 0),
) -> Tensor:
    """Return ``source(p + field(p))``, ``[N, C, h, w]``; border values continue outside the source.

    Args:
        source: Values ``[N, C, rows, columns]``.
        field: Field ``[N, 2, h, w]`` of the whole result or of a window of it.
        mode: Interpolation between pixels.
        corner: Row and column at which the window begins.
    """
    device = field.device
    down = torch.arange(corner[0], corner[0] + field.shape[-2], device=device)
    along = torch.arange(corner[1], corner[1] + field.shape[-1], device=device)
    here = torch.stack(torch.meshgrid(along, down, indexing="xy"))
    size = torch.tensor([source.shape[-1], source.shape[-2]], device=device)[:, None, None]
    places = ((field + here) * (2 / size) + (1 / size - 1)).permute(0, 2, 3, 1)
    return functional.grid_sample(
        source, places, mode=mode, padding_mode="border", align_corners=False
    )


def exponential(velocity: Tensor, squarings: int = _SQUARINGS) -> Tensor:
    """Integrate a velocity field ``[N, 2, rows, columns]`` over one unit of time.

    A step of ``2 ** -squarings`` is doubled ``squarings`` times. For a smooth velocity, the result
    is smooth and invertible.
    """
    field = velocity * 0.5**squarings
    for _ in range(squarings):
        field = field + pull(field, field)
    return field


def smooth(values: Tensor, sigma: float) -> Tensor:
    """Convolve ``[N, C, rows, columns]`` with a Gaussian; border values continue outside."""
    weights = _gaussian(sigma)
    return _convolve(_convolve(values, weights, -1), weights, -2)


def _gaussian(sigma: float) -> list[float]:
    """Return the weights of a Gaussian from its centre outwards."""
    half = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(math.ceil(3 * sigma) + 1)]
    total = half[0] + 2 * sum(half[1:])
    return [weight / total for weight in half]


def _convolve(values: Tensor, weights: list[float], axis: int) -> Tensor:
    reach, length = len(weights) - 1, values.shape[axis]
    margins = [reach, reach, 0, 0] if axis == -1 else [0, 0, reach, reach]
    padded = functional.pad(values, margins, mode="replicate")
    result = values * weights[0]
    for step, weight in enumerate(weights[1:], 1):
        pair = padded.narrow(axis, reach - step, length) + padded.narrow(axis, reach + step, length)
        result = result + pair * weight
    return result


def gradient(values: Tensor) -> Tensor:
    """Return the central differences of ``[N, 1, rows, columns]`` as ``[N, 2, rows, columns]``."""
    padded = functional.pad(values, [1, 1, 1, 1], mode="replicate")
    along = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return torch.cat((along, down), dim=1) * 0.5


def jacobian(field: Tensor) -> Tensor:
    """Return the determinants of ``p -> p + field(p)`` at the corners of every cell.

    Between four neighbouring pixels, the field is bilinear, and its determinant lies between those
    at the four corners: where all are above 0, the map folds nowhere, not even between pixels.

    Args:
        field: Field ``[2, rows, columns]``.

    Returns:
        Determinants ``[4, rows, columns]``; the last row and column of cells reach beyond the
        border.
    """
    going_on = functional.pad(field[None], [0, 1, 0, 1], mode="replicate")[0]
    along, down = going_on.diff(dim=2), going_on.diff(dim=1)
    determinants = [
        (1 + x_along) * (1 + y_down) - y_along * x_down
        for x_along, y_along in (along[:, :-1], along[:, 1:])
        for x_down, y_down in (down[:, :, :-1], down[:, :, 1:])
    ]
    return torch.stack(determinants)
