"""A finding with its surroundings, resampled to a fixed size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from medvae.geometry import Box
from medvae.records import Finding
from medvae.render import Scene

_BOX = 32
"""Cells across a box; the cost of a patch does not depend on the size of the finding."""

_MARGIN = 6
"""Cells around the box: enough for the surroundings, and for rotating the content by 30
degrees."""

_SIDE = _BOX + 2 * _MARGIN
_RING = (1, 5)
_FEWEST_AROUND = 20
_LEAST_NOISE = 0.01
_ANGLES = (-30, -15, 0, 15, 30)

Cells = NDArray[np.float32]
Where = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Patch:
    """The content of a box and its surroundings, resampled to a square of cells.

    Attributes:
        levels: Values in the model's units, not clipped.
        inside: Cells that the finding covers: its mask, or the ellipse in its box.
        around: A thin ring around the finding, without other findings and padding.
    """

    levels: Cells
    inside: Where
    around: Where

    @classmethod
    def of(cls, scene: Scene, finding: Finding) -> Patch | None:
        """Return the patch of a finding, or None if its box is not within the slice."""
        shape = (scene.values.shape[0], scene.values.shape[1])
        if not _within(finding.box, shape):
            return None
        grid = _Grid.of(finding.box, shape)
        inside, around = _ELLIPSE, _AROUND_ELLIPSE
        if finding.mask is not None:
            covered = grid.cells(finding.mask.on(shape)[grid.window])
            inside = (covered > 0) & (covered >= min(0.5, covered.max()))
            around = _ring(inside)
        foreign = grid.cells(_foreign(scene, finding)[grid.window], beyond=1)
        return cls(grid.cells(_levels(scene, grid.window)), inside, around & (foreign == 0))

    @property
    def judgeable(self) -> bool:
        """Whether the finding has enough surroundings to be compared with."""
        return int(self.around.sum()) >= _FEWEST_AROUND

    @property
    def contrast(self) -> float:
        """The difference between the means of the finding and of its surroundings."""
        inside, around = self.levels[self.inside], self.levels[self.around]
        return float(inside.mean(dtype=np.float64) - around.mean(dtype=np.float64))

    @property
    def noise(self) -> float:
        """The standard deviation of the surroundings, with a positive lower bound."""
        return max(float(self.levels[self.around].std(dtype=np.float64)), _LEAST_NOISE)

    @property
    def picture(self) -> Cells:
        """The content of the box, clipped to the range of the model, ``[side, side]``."""
        return _box_of(self.levels).clip(0, 1)

    @property
    def turned(self) -> Cells:
        """The picture rotated by up to 30 degrees, mirrored and not, ``[N, side, side]``."""
        upright = Image.fromarray(self.levels)
        turned = [
            _box_of(np.asarray(picture.rotate(angle, Image.Resampling.BILINEAR)))
            for picture in (upright, upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
            for angle in _ANGLES
        ]
        return np.stack(turned).clip(0, 1)


@dataclass(frozen=True)
class _Grid:
    """The position of the cells of a patch.

    Attributes:
        window: Pixels of the slice that are needed.
        beyond: Number of missing pixels on either side of the rows and columns.
        box: Box of all cells, relative to the corner of the padded window.
    """

    window: tuple[slice, slice]
    beyond: tuple[tuple[int, int], tuple[int, int]]
    box: Box

    @classmethod
    def of(cls, box: Box, shape: tuple[int, int]) -> _Grid:
        window, beyond, ends = [], [], []
        for low, high, count in ((box[1], box[3], shape[0]), (box[0], box[2], shape[1])):
            cell = (high - low) / _BOX
            start, stop = low - _MARGIN * cell, high + _MARGIN * cell
            # Resampling a cell also uses pixels of its neighbour cells.
            first, last = math.floor(start - cell) - 1, math.ceil(stop + cell) + 1
            window.append(slice(max(0, first), min(count, last)))
            beyond.append((max(0, -first), max(0, last - count)))
            ends.append((start - first, stop - first))
        (top, bottom), (left, right) = ends
        return cls((window[0], window[1]), (beyond[0], beyond[1]), Box(left, top, right, bottom))

    def cells(self, pixels: NDArray[np.float32 | np.bool_], beyond: float | None = None) -> Cells:
        """Resample the window, padded with the value `beyond` or, if None, the border pixels."""
        pixels = pixels.astype(np.float32, copy=False)
        if any(map(any, self.beyond)):
            pixels = (
                np.pad(pixels, self.beyond, mode="edge")
                if beyond is None
                else np.pad(pixels, self.beyond, constant_values=beyond)
            )
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, box=self.box))


def _within(box: Box, shape: tuple[int, int]) -> bool:
    """Return whether a box is valid and lies within a slice of this shape."""
    x0, y0, x1, y1 = box
    return 0 <= x0 < x1 <= shape[1] and 0 <= y0 < y1 <= shape[0]


def _levels(scene: Scene, window: tuple[slice, slice]) -> Cells:
    """Return values in the model's units without clipping, and 0 in padding."""
    low, high = scene.intensity.low, scene.intensity.high
    levels: Cells = (scene.values[window] - np.float32(low)) / np.float32(high - low or 1)
    return levels if scene.padding is None else np.where(scene.padding[window], 0, levels)


def _foreign(scene: Scene, finding: Finding) -> Where:
    """Return a mask of padding and other findings on the slice."""
    foreign = np.zeros(scene.values.shape, np.bool_) if scene.padding is None else scene.padding
    others = [other for other in scene.labels if other.box != finding.box]
    if others:
        foreign = foreign.copy()
    for other in others:
        if other.mask is not None:
            foreign |= other.mask.on((foreign.shape[0], foreign.shape[1]))
        else:
            x0, y0, x1, y1 = (round(edge) for edge in np.clip(other.box, 0, None))
            foreign[y0:y1, x0:x1] = True
    return foreign


def _ring(inside: Where) -> Where:
    distance = ndimage.distance_transform_edt(~inside)
    ring: Where = (distance > _RING[0]) & (distance <= _RING[1])
    return ring


def _box_of(levels: Cells) -> Cells:
    return levels[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


_STEPS = (np.arange(_SIDE) + 0.5 - _SIDE / 2) / (_BOX / 2)
_ELLIPSE: Where = np.add.outer(_STEPS**2, _STEPS**2) <= 1
_AROUND_ELLIPSE = _ring(_ELLIPSE)
