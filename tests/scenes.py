"""Scenes of values that are not in a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.geometry import Geometry
from medvae.intensity import Canvas, IntensityMap
from medvae.records import Labels, Pixels, Slice
from medvae.render import Scene

__all__ = ["changed", "scene_of"]


def scene_of(
    values: NDArray[Any],
    canvas: Canvas,
    intensity: IntensityMap,
    *,
    labels: Labels | None = None,
    padding: NDArray[np.bool_] | None = None,
    spacing: tuple[float, float] | None = None,
    absolute: bool = False,
) -> Scene:
    """Return a scene of values, in HU if they are absolute."""
    values = values.astype(np.float32)
    pixels = Pixels(values, values, padding)
    native = Slice.in_memory(
        pixels,
        modality="CT" if absolute else None,
        geometry=Geometry(spacing=spacing),
        labels=Labels() if labels is None else labels,
    )
    return Scene(native, pixels, canvas, intensity)


def changed(scene: Scene, **changes: Any) -> Scene:
    """Return a scene with other values, padding, labels, spacing, canvas or intensity."""
    pixels = {name: changes.pop(name) for name in ("values", "padding") if name in changes}
    native = {name: changes.pop(name) for name in ("labels",) if name in changes}
    if "spacing" in changes:
        native["geometry"] = replace(scene.slice.geometry, spacing=changes.pop("spacing"))
    return replace(
        scene,
        slice=replace(scene.slice, **native),
        pixels=replace(scene.pixels, **pixels),
        **changes,
    )
