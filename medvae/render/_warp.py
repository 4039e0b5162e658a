"""The render `warp`: the slice's own pixels, moved as the decoded image changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvae.intensity import Canvas
from medvae.render._contract import Render, Rendered, Scene
from medvae.render._fields import pull, smooth
from medvae.render._moving import moved_labels, moved_values, possible
from medvae.render._placement import NativeField, Placement, without_folds
from medvae.render._registration import on_grid, velocity

_BROAD = 1.5
"""Sigma in cells that smooths the added change of intensity: much broader than edges."""

_DARK = 0.1
"""Fraction of the model's range below which an added change of intensity fades out."""


@dataclass(frozen=True, eq=False)
class Change:
    """The change of a slice.

    Attributes:
        field: Field that moves the slice.
        weakened: Number of times that the velocity was reduced to remove all folds.
        intensity: Intensity that is added, ``[1, GRID, GRID]`` in the model's units.
    """

    field: NativeField
    weakened: int
    intensity: Tensor


class Warp(Render):
    """A render that moves the slice so that its decoded image becomes the new one.

    A diffeomorphism of the slice onto itself pulls the decoded image onto the new one. The native
    pixels, masks and boxes all move by it; the broad change of intensity that it cannot explain is
    added, except where the model shows black: air and background stay as they are. Padding is
    unchanged, and no value becomes lower than the lowest of the source.

    The `numbers` are ``least_jacobian`` and ``greatest_jacobian`` of the map from the result to the
    source (below 1 where the image expands), ``mean_displacement_pixels`` over the native slice,
    ``weakened`` (how often the velocity was reduced to keep the least above its limit), and
    ``lost_findings`` (how many findings have vanished and are no longer in the labels).
    """

    name = "warp"
    preserves_locations = False

    def render(self, scenes: Sequence[Scene], before: Tensor, after: Tensor) -> list[Rendered]:
        """Render slices as the base class specifies."""
        canvases = [scene.canvas for scene in scenes]
        for canvas in canvases:
            if before.shape[-2:] != (canvas.size, canvas.size):
                raise ValueError(
                    f"decoded pictures must be {canvas.size} wide, but are {list(before.shape)}"
                )
        with torch.inference_mode():
            source, target = on_grid(before), on_grid(after)
            velocities = velocity(source, target, canvases)
            parts = zip(scenes, before, source, target, velocities, strict=True)
            return [self._rendered(*part) for part in parts]

    def change(
        self, source: Tensor, target: Tensor, velocity: Tensor, placement: Placement
    ) -> Change:
        """Return the change of a slice.

        Args:
            source, target: Decoded images of both latents, ``[1, GRID, GRID]``.
            velocity: Velocity that pulls the source onto the target, ``[2, GRID, GRID]``.
            placement: Placement of the slice on the grid.
        """
        field, weakened = without_folds(velocity, placement)
        left = target - pull(source[None], field.on_grid[None])[0]
        return Change(field, weakened, smooth(left[None], _BROAD)[0])

    def _rendered(
        self, scene: Scene, before: Tensor, source: Tensor, target: Tensor, velocity: Tensor
    ) -> Rendered:
        """Render one slice."""
        if torch.equal(source, target):
            return Rendered(scene.values, scene.labels, _numbers(1.0, 1.0, 0.0, 0, 0))
        placement = Placement.of(scene.canvas, velocity.device)
        change = self.change(source, target, velocity, placement)
        field = change.field
        labels, lost = moved_labels(scene.labels, field, scene.padding)
        values = moved_values(scene, field)
        brighter = placement.picture(change.intensity)[0].cpu().numpy()
        values = _brightened(scene, values, brighter)
        # NumPy computes the mean, as its sum does not depend on the number of threads.
        distance = float(np.hypot(*field.displacement.cpu().numpy()).mean(dtype=np.float64))
        numbers = _numbers(*field.jacobian, distance, change.weakened, lost)
        decoded = partial(_decoded, before, field.velocity, change.intensity)
        return Rendered(values, labels, numbers, decoded)


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
    """Move and brighten a decoded image ``[1, size, size]`` as its slice was."""
    size = before.shape[-1]
    canvas = Canvas((size, size), (size, size), size)
    with torch.inference_mode():
        placement = Placement.of(canvas, before.device)
        field = NativeField(velocity, placement)
        moved = pull(before.float()[None], field.displacement[None], "bicubic")[0]
        return moved + placement.picture(change)
