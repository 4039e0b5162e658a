"""Slices of bodies that are known exactly, with lesions, for transplants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvae.geometry import Geometry
from medvae.intensity import Canvas, percentile, window
from medvae.records import Category, Finding, Labels, Mask
from medvae.render._contract import Rendered, Scene
from medvae.render._lesion import Lesion, Refused
from scenes import changed, scene_of

FIELD = 192.0
"""Sides of the field of view in millimetres."""

GLIOMA = Category("glioma", "lesion")


@dataclass(frozen=True)
class Spot:
    """A lesion: an ellipse, or with ``notched`` one without its upper left quarter.

    Millimetres are those of standard orientation, from the middle of the field of view.
    """

    y: float = -10.0
    x: float = 35.0
    height: float = 16.0
    width: float = 16.0
    level: float = 700.0
    notched: bool = False
    category: Category = GLIOMA

    def mask(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """What it covers of the pixels at these places."""
        down, right = (y - self.y)[:, None] / self.height, (x - self.x) / self.width
        inside: NDArray[np.bool_] = np.hypot(down, right) <= 1
        return inside & ~((down < 0) & (right < 0)) if self.notched else inside


def body(
    *spots: Spot,
    shape: tuple[int, int] = (128, 128),
    flips: tuple[bool, bool] = (False, False),
    known: bool = True,
    masked: bool = True,
    level: float = 400.0,
    noise: float = 4.0,
    absolute: bool = False,
    seed: int = 0,
) -> Scene:
    """Make a slice of a round body, 160 mm wide, in air; lesions are set on it and labelled.

    Args:
        spots: the lesions.
        shape: rows and columns, over all of the field of view.
        flips: whether its rows and its columns are stored against standard orientation.
        known: the spacing is known.
        masked: the lesions have masks.
        level: of the body.
        noise: its standard deviation.
        absolute: the units are HU.
        seed: of the noise.
    """
    y, x = ((np.arange(n) + 0.5) / n * FIELD - FIELD / 2 for n in shape)
    outline = np.hypot(y[:, None], x) <= 80
    values = np.where(outline, level, -1000.0 if absolute else 10.0)
    masks = [spot.mask(y, x) for spot in spots]
    for spot, mask in zip(spots, masks, strict=True):
        values[mask] = spot.level
    values += np.random.default_rng(seed).normal(0, noise, shape) * outline
    order = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    values, masks = values[order].astype(np.float32), [mask[order] for mask in masks]
    findings = [
        Finding(spot.category, cut.box, cut if masked else None)
        for spot, cut in zip(spots, map(Mask.of, masks), strict=True)
        if cut is not None
    ]
    spacing = (FIELD / shape[0], FIELD / shape[1])
    geometry = Geometry(
        spacing=spacing,
        along_row=(-1.0 if flips[1] else 1.0, 0.0, 0.0),
        along_column=(0.0, -1.0 if flips[0] else 1.0, 0.0),
    )
    return scene_of(
        values,
        Canvas.fit(shape, geometry),
        window(40, 400) if absolute else percentile(values),
        labels=Labels(tuple(findings)),
        spacing=spacing if known else None,
        absolute=absolute,
    )


def lesion_of(scene: Scene, finding: int = 0) -> Lesion:
    """Take a lesion that can be taken."""
    lesion = Lesion.on(scene, finding)
    assert isinstance(lesion, Lesion)
    return lesion


def rendered(outcome: Rendered | Refused) -> Rendered:
    """Return what must have been rendered."""
    assert isinstance(outcome, Rendered), outcome
    return outcome


def moved(result: Rendered) -> NDArray[np.bool_]:
    """Return the mask of the lesion that was set in, the last finding."""
    mask = result.labels.findings[-1].mask
    assert mask is not None
    return mask.on((result.values.shape[0], result.values.shape[1]))


def upright(pixels: NDArray[np.bool_], scene: Scene) -> NDArray[np.bool_]:
    """Show the pixels of a slice in standard orientation."""
    canvas = scene.canvas
    return pixels[:: -1 if canvas.flip_rows else 1, :: -1 if canvas.flip_columns else 1]


def with_padding(scene: Scene, padding: NDArray[np.bool_]) -> Scene:
    """Say that there is no image in a part of a slice."""
    values = np.where(padding, np.float32(-2000), scene.values)
    return changed(scene, values=values, padding=padding)


def areas(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Count the pixels of masks."""
    return np.array([mask.sum() for mask in masks])
