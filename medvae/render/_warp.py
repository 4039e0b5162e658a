"""The render `warp`: the slice's own pixels, moved as the decoded picture changes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvae.intensity import Canvas
from medvae.render._contract import Render, Rendered, Scene
from medvae.render._fields import pull, smooth
from medvae.render._labels import moved_labels
from medvae.render._placement import NativeField, Placement, without_folds
from medvae.render._registration import on_grid, velocity
from medvae.render._values import moved_values, possible

__all__ = ["Warp"]

_BROAD = 1.5
"""Sigma in cells of the change of intensity that is added: much broader than edges."""

_DARK = 0.1
"""Of the model's range: below it, an added change of intensity fades out."""


class Warp(Render):
    """Moves the slice so that its decoded picture becomes the other one.

    A diffeomorphism of the slice onto itself pulls the decoded picture onto the new one. The
    native pixels, masks and boxes all move by it; the broad change of intensity that it cannot
    explain is added, but for what the model shows as black: air and background stay as they are.
    Padding stays where and what it is, and nothing becomes lower than the source is anywhere.

    In `numbers`: ``least_jacobian`` and ``greatest_jacobian`` of the map from the result to the
    source (below 1 where the picture expands), ``mean_displacement_pixels`` over the native slice,
    ``weakened`` (how often the velocity was reduced to keep the least above its limit), and
    ``lost_findings`` (those of which nothing is left, and which are in the labels no more).
    """

    name = "warp"
    preserves_locations = False

    def render(self, scenes: Sequence[Scene], before: Tensor, after: Tensor) -> list[Rendered]:
        """Render slices as the contract says."""
        canvases = [scene.canvas for scene in scenes]
        for canvas in canvases:
            if before.shape[-2:] != (canvas.size, canvas.size):
                raise ValueError(
                    f"decoded pictures must be {canvas.size} wide, but are {list(before.shape)}"
                )
        with torch.inference_mode():
            source, target = on_grid(before), on_grid(after)
            found = velocity(source, target, canvases)
            parts = zip(scenes, before, source, target, found, strict=True)
            return [_rendered(*part) for part in parts]


def _rendered(
    scene: Scene, before: Tensor, source: Tensor, target: Tensor, found: Tensor
) -> Rendered:
    """Render one slice from its pictures ``[1, GRID, GRID]`` and velocity ``[2, GRID, GRID]``."""
    if torch.equal(source, target):
        return Rendered(scene.values, scene.labels, _numbers(1.0, 1.0, 0.0, 0, 0))
    placement = Placement.of(scene.canvas, found.device)
    field, weakened = without_folds(found, placement)
    left = target - pull(source[None], field.on_grid[None])[0]
    change = smooth(left[None], _BROAD)[0]
    labels, lost = moved_labels(scene.labels, field, scene.padding)
    values = moved_values(scene, field)
    values = _brightened(scene, values, placement.picture(change)[0].cpu().numpy())
    # By numpy, whose sum does not depend on the number of threads.
    distance = float(np.hypot(*field.displacement.cpu().numpy()).mean(dtype=np.float64))
    numbers = _numbers(*field.jacobian, distance, weakened, lost)
    return Rendered(values, labels, numbers, partial(_decoded, before, field.velocity, change))


def _numbers(
    least: float, greatest: float, distance: float, weakened: int, lost: int
) -> dict[str, float]:
    return {
        "least_jacobian": least,
        "greatest_jacobian": greatest,
        "mean_displacement_pixels": distance,
        "weakened": weakened,
        "lost_findings": lost,
    }


def _brightened(
    scene: Scene, values: NDArray[np.float32], change: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Add a change in the model's units, ``[rows, columns]``, to moved values."""
    change = change * np.minimum(scene.intensity.to_model(values) / _DARK, 1)
    values = scene.intensity.restore(values, np.zeros_like(change), change)
    return possible(values, scene)


def _decoded(before: Tensor, velocity: Tensor, change: Tensor) -> Tensor:
    """Move and brighten a decoded picture ``[1, size, size]`` as its slice was."""
    size = before.shape[-1]
    canvas = Canvas((size, size), (size, size), size)
    with torch.inference_mode():
        placement = Placement.of(canvas, before.device)
        field = NativeField(velocity, placement)
        moved = pull(before.float()[None], field.displacement[None], "bicubic")[0]
        return moved + placement.picture(change)
