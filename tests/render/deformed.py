"""Decoded pictures that differ by more than a decoder would make them differ, and their scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from medvae.geometry import Box, Geometry
from medvae.intensity import Canvas, IntensityMap
from medvae.render import Scene
from scenes import scene_of

LEFT, RIGHT = (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)
BACK, FRONT = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)
NARROW = IntensityMap(0, 1, "window:0.5,1")
"""Its changes are as nothing beside the values of the tests."""


def picture(seed: int, size: int, sigma: float) -> Tensor:
    """Return smoothed noise that fills [0, 1], ``[1, 1, size, size]``."""
    noise = np.random.default_rng(seed).random((size, size))
    smooth = gaussian_filter(noise, sigma) if sigma else noise
    scaled = (smooth - smooth.min()) / np.ptp(smooth)
    return torch.from_numpy(scaled.astype(np.float32))[None, None]


def head(size: int, centre: tuple[float, float], radii: tuple[float, float]) -> Tensor:
    """Return a bright ellipse with a soft edge, ``[1, 1, size, size]``; all in canvas pixels."""
    x, y = np.arange(size) + 0.5, (np.arange(size) + 0.5)[:, None]
    distance = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])
    bright = 0.8 / (1 + np.exp((distance - 1) * 12))
    return torch.from_numpy(bright.astype(np.float32))[None, None]


@st.composite
def pairs(draw: st.DrawFn, size: int, least: float = 0, most: float = 20) -> tuple[Tensor, Tensor]:
    """Two pictures that have nothing to do with each other."""
    sigma = draw(st.floats(least, most))
    first, second = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
    return picture(first, size, sigma), picture(second, size, sigma)


@st.composite
def canvases(draw: st.DrawFn, least: int = 40, most: int = 160) -> Canvas:
    """Flipped and not, of pixels that are square and not, 128 wide."""
    sides = st.integers(least, most)
    geometry = Geometry(
        spacing=draw(st.none() | st.tuples(st.floats(0.5, 2), st.floats(0.5, 2))),
        along_row=draw(st.sampled_from((LEFT, RIGHT))),
        along_column=draw(st.sampled_from((BACK, FRONT))),
    )
    return Canvas.fit(draw(st.tuples(sides, sides)), geometry, 128)


def scene(values: NDArray[Any], canvas: Canvas | None = None, **attributes: Any) -> Scene:
    """Make a scene of values, by default on a canvas of their own square shape."""
    canvas = canvas or Canvas(values.shape, values.shape, values.shape[0])
    return scene_of(values, canvas, attributes.pop("intensity", NARROW), **attributes)


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> NDArray[np.float32]:
    """Return a disc of 1 on 0, whose edge pixels are as bright as they are covered."""
    x, y = np.arange(shape[1]) + 0.5, (np.arange(shape[0]) + 0.5)[:, None]
    distance = np.hypot(x - centre[0], y - centre[1])
    covered: NDArray[np.float32] = (radius + 0.5 - distance).clip(0, 1).astype(np.float32)
    return covered


def box_of(mask: NDArray[np.bool_]) -> Box:
    """Return the box around what is set, in pixel edges."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
