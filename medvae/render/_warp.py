"""The render `warp`: the slice's own pixels, moved as the decoded picture changes."""

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
from medvae.render._labels import moved_labels
from medvae.render._placement import NativeField, Placement, without_folds
from medvae.render._registration import on_grid, velocity
from medvae.render._values import moved_values, possible

__all__ = ["Change", "Warp"]

_BROAD = 1.5
"""Sigma in cells of the change of intensity that is added: much broader than edges."""

_DARK = 0.1
"""Of the model's range: below it, an added change of intensity fades out."""


@dataclass(frozen=True, eq=False)
class Change:
    """How a slice changes.

    Attributes:
        field: that moves it.
        weakened: how often the velocity was reduced for no fold to be left.
        intensity: what is added, ``[1, GRID, GRID]`` in the model's units.
    """

    field: NativeField
    weakened: int
    intensity: Tensor


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
            velocities = velocity(source, target, canvases)
            parts = zip(scenes, before, source, target, velocities, strict=True)
            return [self._rendered(*part) for part in parts]

    def change(
        self, source: Tensor, target: Tensor, velocity: Tensor, placement: Placement
    ) -> Change:
        """Say how a slice changes.

        Args:
            source, target: what the model makes of both latents, ``[1, GRID, GRID]``.
            velocity: that pulls the source onto the target, ``[2, GRID, GRID]``.
            placement: of the slice on the grid.
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
        # By numpy, whose sum does not depend on the number of threads.
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
    """Move and brighten a decoded picture ``[1, size, size]`` as its slice was."""
    size = before.shape[-1]
    canvas = Canvas((size, size), (size, size), size)
    with torch.inference_mode():
        placement = Placement.of(canvas, before.device)
        field = NativeField(velocity, placement)
        moved = pull(before.float()[None], field.displacement[None], "bicubic")[0]
        return moved + placement.picture(change)
