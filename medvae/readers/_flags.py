"""Flags for unusual positions of the slices of a series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medvae.records import Slice

__all__ = ["geometry_flags", "without_geometry_flags"]

_EVEN = 0.01
"""Gaps that differ by less than this, in millimetres, count as even."""

_MOST_MISSING = 20
"""Gaps count as uneven if more slices than this would be missing per gap."""

_KINDS = ("tilt:", "gaps:", "uneven:")


def geometry_flags(slices: Sequence[Slice]) -> list[str]:
    """Return flags for unusual positions of slices, which are given in order."""
    places = [item.geometry.position for item in slices if item.geometry.position is not None]
    normals = [item.geometry.normal for item in slices if item.geometry.normal is not None]
    if len(places) < len(slices) or len(normals) < len(slices) or len(slices) < 3:
        return []
    normal = np.mean(normals, axis=0)
    normal /= np.linalg.norm(normal)
    steps = np.diff(np.array(places), axis=0)
    gaps = np.abs(steps @ normal)
    return _tilt(steps, gaps, normal) + _gaps(gaps)


def without_geometry_flags(flags: Sequence[str]) -> list[str]:
    """Return the flags that do not concern positions."""
    return [flag for flag in flags if not flag.startswith(_KINDS)]


def _tilt(
    steps: NDArray[np.float64], gaps: NDArray[np.float64], normal: NDArray[np.float64]
) -> list[str]:
    aside = np.linalg.norm(steps - np.outer(steps @ normal, normal), axis=1)
    angles = np.degrees(np.arctan2(aside, gaps))
    if np.median(angles) < 0.5:
        return []
    spread = f" ({angles.min():.1f} to {angles.max():.1f})" if np.ptp(angles) > 1 else ""
    return [f"tilt: slices are shifted by {np.median(angles):.1f} degrees{spread}"]


def _gaps(gaps: NDArray[np.float64]) -> list[str]:
    least = float(gaps.min())
    if np.ptp(gaps) <= max(0.02 * least, _EVEN):
        return []
    steps = np.round(gaps / max(least, _EVEN))
    missing = int((steps - 1).sum())
    if np.abs(gaps / least - steps).max() < 0.1 and missing < _MOST_MISSING * len(gaps):
        return [f"gaps: {missing} slices missing at {int((steps > 1).sum())} places"]
    return [f"uneven: from {least:.2f} to {gaps.max():.2f} mm between slices"]
