"""Heads that are known exactly: textured, with a lesion on some of their slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medvae.gates import Calibration, Draft, Gates
from medvae.geometry import Box, Geometry
from medvae.intensity import Canvas, percentile
from medvae.latent import LatentStatistics
from medvae.records import Category, Finding, Labels, Mask
from medvae.render import Rendered, Scene
from scenes import scene_of as in_memory

SIDE = 128
SLICES = 12
GLIOMA = Category("glioma", "lesion")

Values = NDArray[np.float32]

_ROWS, _COLUMNS = np.mgrid[:SIDE, :SIDE] + 0.5


def disc(x: float, y: float, radius: float) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.hypot(_COLUMNS - x, _ROWS - y) <= radius
    return found


def finding(mask: NDArray[np.bool_], masked: bool) -> Finding:
    found = Mask.of(mask)
    assert found
    return Finding(GLIOMA, found.box, found if masked else None)


def scene_of(values: NDArray[Any], *findings: Finding, padding: Any = None) -> Scene:
    values = values.astype(np.float32)
    canvas = Canvas.fit((values.shape[0], values.shape[1]), Geometry(), 64)
    return in_memory(
        values,
        canvas,
        percentile(values),
        labels=Labels(findings),
        padding=padding,
        spacing=(1.5, 1.5),
    )


@cache
def head(seed: int, masked: bool = False) -> tuple[Scene, ...]:
    """Slices of one head, from bottom to top, with a lesion on those in the middle."""
    random = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(random.standard_normal((SLICES, SIDE, SIDE)), (1, 8, 8))
    texture *= 60 / texture.std()
    x, y, most = random.uniform(50, 78), random.uniform(45, 83), random.uniform(9, 15)
    scenes = []
    for index, shades in enumerate(texture):
        size = 46 + 8 * np.sin(np.pi * index / SLICES)
        inside = np.hypot((_COLUMNS - 64) / size, (_ROWS - 64) / (1.1 * size)) <= 1
        values = np.where(inside, 500 + shades, 10) + random.normal(0, 8, (SIDE, SIDE))
        radius = most * (1 - ((index - 5.5) / 5) ** 2)
        if radius < 4:
            scenes.append(scene_of(values))
            continue
        spot = disc(x + index / 2, y, radius)
        values += 250 * ndimage.gaussian_filter(spot.astype(float), 0.7)
        scenes.append(scene_of(values, finding(spot, masked)))
    return tuple(scenes)


def calibration(seeds: Sequence[int], masked: bool = False) -> Calibration:
    made = Calibration()
    for seed in seeds:
        for scene in head(seed, masked):
            made.add(str(seed), scene, scene.picture())
    return made


@cache
def gates(masked: bool = False) -> Gates:
    return calibration(range(10), masked).gates()


def latents(mu: Any, patients: int) -> LatentStatistics:
    count = len(mu)
    groups = [str(index * patients // count) for index in range(count)]
    return LatentStatistics.of([f"{i:05}" for i in range(count)], groups, mu, mu * 0)


def draft_of(scene: Scene, values: NDArray[Any], *findings: Finding, **more: Any) -> Draft:
    """A slice rendered from a scene, with its own findings if no others are given."""
    values = values.astype(np.float32)
    labels = Labels(findings) if findings else scene.labels
    numbers = more.pop("numbers", {})
    return Draft(scene, Rendered(values, labels, numbers), **more)


def warped(scene: Scene, amount: float = 7.0, seed: int = 0) -> Draft:
    """A slice that is smoothly deformed, by `amount` pixels at most, together with its lesion."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.standard_normal((2, SIDE, SIDE)), (0, 12, 12))
    field *= amount / np.hypot(*field).max()
    places = np.mgrid[:SIDE, :SIDE] + field
    values = ndimage.map_coordinates(scene.values, places, order=1, mode="nearest")
    moved = []
    for old in scene.labels:
        mask = old.mask.on((SIDE, SIDE)) if old.mask else ellipse(old)
        pulled = ndimage.map_coordinates(mask.astype(float), places, order=1) >= 0.5
        moved.append(finding(pulled, old.mask is not None))
    return draft_of(scene, values, *moved, numbers={"least_jacobian": 0.6})


def ellipse(of: Finding) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = of.box
    across, down = (2 * _COLUMNS - x0 - x1) / (x1 - x0), (2 * _ROWS - y0 - y1) / (y1 - y0)
    found: NDArray[np.bool_] = np.hypot(across, down) <= 1
    return found


def without_lesion(scene: Scene, share: float = 0.0, blur: float = 1.0) -> Values:
    """The slice with a share of its lesion's contrast."""
    (only,) = scene.labels
    over = ndimage.binary_dilation(ellipse(only), iterations=2)
    edge = ndimage.gaussian_filter(over.astype(float), blur)
    around = ndimage.binary_dilation(over, iterations=4) & ~over
    level = np.median(scene.values[around])
    result: Values = (scene.values + edge * (1 - share) * (level - scene.values)).astype(np.float32)
    return result


def transplanted(donor: Scene, host: Scene, turn: float = 25.0) -> Draft:
    """A donor's lesion, turned and mirrored, at the level of its place in a host."""
    (lesion,) = donor.labels
    x0, y0, x1, y1 = lesion.box
    centre = np.array([(y0 + y1) / 2 - 0.5, (x0 + x1) / 2 - 0.5])
    angle = np.deg2rad(turn)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])
    offset = centre - matrix @ centre

    def turned(values: NDArray[Any]) -> NDArray[Any]:
        result: NDArray[Any] = ndimage.affine_transform(values, matrix, offset, order=1)
        return result

    mask = lesion.mask.on((SIDE, SIDE)) if lesion.mask else ellipse(lesion)
    spot = turned(mask.astype(float)) >= 0.5
    edge = ndimage.gaussian_filter(ndimage.binary_dilation(spot).astype(float), 0.7)
    ring = ndimage.binary_dilation(spot, iterations=4) & ~ndimage.binary_dilation(spot)
    pasted = turned(donor.values)
    pasted += np.median(host.values[ring]) - np.median(pasted[ring])
    values = host.values + edge * (pasted - host.values)
    new = finding(spot, lesion.mask is not None)
    return draft_of(host, values, *host.labels, new, donor=donor)


def shifted(old: Finding, x: int, y: int) -> Finding:
    x0, y0, x1, y1 = old.box
    mask = old.mask and replace(old.mask, row=old.mask.row + y, column=old.mask.column + x)
    return Finding(old.category, Box(x0 + x, y0 + y, x1 + x, y1 + y), mask)
