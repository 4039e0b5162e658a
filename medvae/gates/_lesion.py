"""The gate `lesion`: each box must still contain its lesion."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from medvae.gates._draft import Draft, Verdict
from medvae.gates._gate import Gate, Limit, RealSlice
from medvae.gates._patch import Cells, Patch
from medvae.records import Finding

_WINDOW, _STRIDE = 8, 4
_LUMINANCE, _STRUCTURE = 0.01**2, 0.03**2
_SAME = 1 / 3
_NOTHING_LEFT = 1e-3


class LesionGate(Gate):
    """Gate on the appearance of each finding in its box.

    Its limits are ``contrast``, the factor by which the contrast of a finding may grow or shrink,
    and ``similarity``, the smallest structural similarity in the box, within which 95 % of pairs
    stay that show the same finding on neighbouring slices; and ``visibility``, the smallest
    contrast-to-noise ratio of a finding, which 97.5 % of real ones exceed.
    """

    name = "lesion"
    limits: ClassVar[Mapping[str, Limit]] = {
        "contrast": Limit(1.7, 95, 1.5, 2.0),
        "visibility": Limit(0.2, 2.5, 0.1, 0.5),
        "similarity": Limit(0.25, 5, 0.2, 0.35),
    }
    by_median = frozenset(("contrast", "similarity"))

    @classmethod
    def observe(cls, real: RealSlice) -> Iterator[tuple[str, float]]:
        """Yield how visible the findings of a slice are."""
        for _, patch in real.patches:
            yield "visibility", abs(patch.contrast) / patch.noise

    @classmethod
    def compare(cls, one: RealSlice, other: RealSlice) -> Iterator[tuple[str, float]]:
        """Yield how much contrast the same findings keep, and how similar they are."""
        for (_, first), (_, second) in same_findings(one, other):
            for before, after in ((first, second), (second, first)):
                kept = contrast_kept(before, after, cls.limits["visibility"].default)
                yield "contrast", max(kept, 1 / max(kept, _NOTHING_LEFT))
            yield "similarity", float(similarity(first.picture, second.picture))

    def judge(self, draft: Draft) -> Iterator[Verdict]:
        """Judge the findings of a draft; each measure is that of the worst of them.

        A finding that fills the slice has no surroundings to be compared with, and is left out.
        """
        result, own, found = draft.result, len(draft.scene.labels), []
        if len(draft.findings) != len(draft.origins):
            return
        for index, (origin, finding) in enumerate(zip(draft.origins, draft.findings, strict=True)):
            before, after = Patch.of(*origin), Patch.of(result, finding)
            if before is not None and after is not None and before.judgeable and after.judgeable:
                found.append(self._verdicts(before, after, transplanted=index >= own))
        yield from (min(verdicts, key=_merit) for verdicts in zip(*found, strict=True))

    def _verdicts(self, before: Patch, after: Patch, transplanted: bool) -> list[Verdict]:
        """Judge one finding; a transplanted one may be rotated and mirrored."""
        limits, was = self.reference.limits, before.contrast
        most, least_visible = limits["contrast"], limits["visibility"]
        alike = similarity(before.turned if transplanted else before.picture, after.picture)
        # A lesion that is hardly visible on the real slice may lose as much contrast as any other.
        seen = abs(was) / before.noise
        lost = (1 - 1 / most) * max(seen, least_visible)
        kept = contrast_kept(before, after, least_visible)
        visible = math.copysign(1, was) * after.contrast / after.noise
        return [
            Verdict(self.name, "contrast", kept, 1 / most, most),
            Verdict(self.name, "visibility", visible, min(least_visible, seen - lost)),
            Verdict(self.name, "similarity", float(alike.max()), limits["similarity"]),
        ]


def same_findings(
    one: RealSlice, other: RealSlice
) -> Iterator[tuple[tuple[Finding, Patch], tuple[Finding, Patch]]]:
    """Yield pairs of the same category that overlap well and are each other's best match."""
    overlap = np.array([[_overlap(a, b) for b, _ in other.patches] for a, _ in one.patches])
    for row, column in np.argwhere(overlap >= _SAME):
        if overlap[row, column] == max(overlap[row].max(), overlap[:, column].max()):
            yield one.patches[row], other.patches[column]


def _overlap(one: Finding, other: Finding) -> float:
    """Return the intersection over union of two boxes, or 0 if their categories differ."""
    return one.box.iou(other.box) if one.category == other.category else 0.0


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


def _merit(verdict: Verdict) -> tuple[bool, float]:
    """Return a sort key: how far the value of a verdict is within its limits."""
    low = -math.inf if verdict.low is None else verdict.low
    high = math.inf if verdict.high is None else verdict.high
    return verdict.passed, min(verdict.value - low, high - verdict.value)
