"""Classic augmentation of whole batches: mirror, rotation, zoom, shift and gamma.

It does for all slices of a batch at once what MONAI's ``BoxToMaskd`` with ellipses,
``RandAffined`` and ``MaskToBoxd`` do slice by slice: the ellipse in a box is moved, and the box
around it is computed without drawing a mask.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["vary"]

_ROTATION = 0.175
_ZOOM = 0.15
_SHIFT = 0.075
_GAMMA = math.log(1.4)
_SMALLEST = 2.0
"""Minimum side in pixels of what is left of a box at the border; smaller ones are left out."""


def vary(
    images: Tensor, boxes: Tensor, random: torch.Generator, strength: float
) -> tuple[Tensor, Tensor]:
    """Return slices and their boxes, varied at random.

    Args:
        images: Slices ``[N, 1, size, size]`` in [0, 1].
        boxes: Boxes ``[N, K, 4]``, padded with zeros, as are the returned ones.
        random: Random generator on the CPU.
        strength: Strength of the variation: 0 is none; 1 rotates by up to 10 degrees, zooms by up
            to 15 %, shifts by up to 4 % of the width, draws gamma from 0.7 to 1.4, and mirrors
            every second slice.
    """
    matrices = _matrices(len(images), random, strength)
    gamma = torch.exp(_uniform((len(images), 1, 1, 1), random) * _GAMMA * strength)
    grid = functional.affine_grid(
        matrices.to(images.device), list(images.shape), align_corners=False
    )
    moved = functional.grid_sample(images, grid, align_corners=False)
    return moved.clamp(0, 1) ** gamma.to(images.device), _moved(boxes, matrices, images.shape[-1])


def _uniform(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Draw uniformly from -1 to 1."""
    return torch.rand(shape, generator=random) * 2 - 1


def _matrices(count: int, random: torch.Generator, strength: float) -> Tensor:
    """Draw affine matrices ``[N, 2, 3]`` from new to old pixels, in units of half a width."""
    angle = _uniform((count,), random) * _ROTATION * strength
    zoom = 1 + _uniform((count,), random) * _ZOOM * strength
    mirrored = torch.rand(count, generator=random) < 0.5 * min(strength, 1.0)
    side = torch.where(mirrored, -1.0, 1.0)
    shift = _uniform((count, 2), random) * _SHIFT * strength
    rows = (
        torch.stack((angle.cos() * side, -angle.sin()), dim=1) * zoom[:, None],
        torch.stack((angle.sin() * side, angle.cos()), dim=1) * zoom[:, None],
    )
    return torch.cat((torch.stack(rows, dim=1), shift[:, :, None]), dim=2)


def _moved(boxes: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Return the boxes around the inscribed ellipses of boxes after these are moved."""
    place = boxes * 2 / size - 1
    centre, reach = (place[..., 2:] + place[..., :2]) / 2, (place[..., 2:] - place[..., :2]) / 2
    forwards = torch.linalg.inv(matrices[:, :, :2])
    centre = (centre - matrices[:, None, :, 2]) @ forwards.transpose(1, 2)
    reach = (reach.square() @ forwards.square().transpose(1, 2)).sqrt()
    moved = (torch.cat((centre - reach, centre + reach), dim=2) + 1) * size / 2
    moved = moved.clamp(0, size)
    whole = (moved[..., 2:] - moved[..., :2] > _SMALLEST).all(dim=2, keepdim=True)
    return torch.where(whole, moved, 0.0)
