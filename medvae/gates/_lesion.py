"""The gate `lesion`: each box must still contain its lesion."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from medvae.gates._candidate import Candidate, Verdict
from medvae.gates._limits import Limits
from medvae.gates._patch import Cells, Patch

__all__ = ["contrast_kept", "judge_lesions", "similarity"]

_WINDOW, _STRIDE = 8, 4
_LUMINANCE, _STRUCTURE = 0.01**2, 0.03**2


def judge_lesions(candidate: Candidate, limits: Limits) -> list[Verdict]:
    """Judge the findings of a candidate whose labels have passed; an empty list without findings.

    A finding that fills the slice has no surroundings to be compared with, and is left out.
    """
    scene = candidate.scene
    found = []
    for origin, finding in zip(candidate.origins, scene.labels, strict=True):
        before, after = Patch.of(origin.scene, origin.finding), Patch.of(scene, finding)
        if before is not None and after is not None and before.judgeable and after.judgeable:
            found.append(_verdicts(before, after, origin is candidate.donor, limits))
    return [min(verdicts, key=_merit) for verdicts in zip(*found, strict=True)]


def contrast_kept(before: Patch, after: Patch, visibility: float) -> float:
    """Return the fraction of a finding's contrast that is kept; below 0 if it is inverted.

    Args:
        before: The original finding.
        after: The finding in the result.
        visibility: Smallest contrast-to-noise ratio that serves as the reference; a ratio to less
            than that would be meaningless.
    """
    was = before.contrast
    least = max(abs(was), visibility * before.noise)
    return 1 + math.copysign(1, was) * (after.contrast - was) / least


def similarity(pictures: Cells, other: Cells) -> NDArray[np.float64]:
    """Return the structural similarity of pictures ``[..., side, side]`` to another picture.

    This is the index of Wang et al. (2004), in overlapping windows of a quarter of the side.
    """
    x, y = _windows(pictures), _windows(other)
    mean_x, mean_y = x.mean((-2, -1)), y.mean((-2, -1))
    x, y = x - mean_x[..., None, None], y - mean_y[..., None, None]
    spread = (x * x).mean((-2, -1)) + (y * y).mean((-2, -1))
    together = (x * y).mean((-2, -1))
    luminance = (2 * mean_x * mean_y + _LUMINANCE) / (mean_x**2 + mean_y**2 + _LUMINANCE)
    structure = (2 * together + _STRUCTURE) / (spread + _STRUCTURE)
    found: NDArray[np.float64] = (luminance * structure).mean((-2, -1))
    return found


def _windows(pictures: Cells) -> NDArray[np.float64]:
    windows = sliding_window_view(pictures.astype(np.float64), (_WINDOW, _WINDOW), (-2, -1))
    return windows[..., ::_STRIDE, ::_STRIDE, :, :]


def _verdicts(before: Patch, after: Patch, transplanted: bool, limits: Limits) -> list[Verdict]:
    """Judge one finding; a transplanted one may be rotated and mirrored."""
    was = before.contrast
    alike = similarity(before.turned if transplanted else before.picture, after.picture)
    # A lesion that is hardly visible on the real slice may lose as much contrast as any other.
    seen = abs(was) / before.noise
    lost = (1 - 1 / limits.contrast) * max(seen, limits.visibility)
    visible = min(limits.visibility, seen - lost)
    return [
        Verdict(
            "lesion",
            "contrast",
            contrast_kept(before, after, limits.visibility),
            1 / limits.contrast,
            limits.contrast,
        ),
        Verdict(
            "lesion", "visibility", math.copysign(1, was) * after.contrast / after.noise, visible
        ),
        Verdict("lesion", "similarity", float(alike.max()), limits.similarity),
    ]


def _merit(verdict: Verdict) -> tuple[bool, float]:
    """Return a sort key: how far the value of a verdict is within its limits."""
    low = -math.inf if verdict.low is None else verdict.low
    high = math.inf if verdict.high is None else verdict.high
    return verdict.passed, min(verdict.value - low, high - verdict.value)
