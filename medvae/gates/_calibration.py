"""Calibration of the gates' limits on real slices."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medvae.gates._copy import change, outline
from medvae.gates._gates import Gates
from medvae.gates._lesion import contrast_kept, similarity
from medvae.gates._limits import Limits
from medvae.gates._patch import Patch
from medvae.gates._plausibility import TrainingLatents
from medvae.latent import LatentStatistics
from medvae.records import Finding
from medvae.render import Scene

__all__ = ["Calibration"]

_SAME = 1 / 3
_NOTHING_LEFT = 1e-3


class _Shown(NamedTuple):
    """A finding with its patch of the slice."""

    finding: Finding
    patch: Patch


@dataclass(frozen=True, eq=False)
class _Real:
    """Data of a slice that are kept until the next slice is added."""

    series: str
    scene: Scene
    outline: NDArray[np.float32]
    shown: tuple[_Shown, ...]


class Calibration:
    """Collector of statistics of real slices, from which the gates are built.

    It compares consecutive slices of a series, and keeps 1 KB and a few numbers for each slice.
    The gates depend on which series are added, not on their order.
    """

    def __init__(self) -> None:
        self._numbers: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._outlines = bytearray()
        self._last: _Real | None = None

    def add(self, series: str, scene: Scene, picture: NDArray[np.float32]) -> None:
        """Add a slice.

        Args:
            series: Key of its series; the slices of a series must be added consecutively, in order.
            scene: The slice.
            picture: The slice as the model sees it, ``[size, size]``.
        """
        patches = [(finding, Patch.of(scene, finding)) for finding in scene.labels]
        shown = tuple(_Shown(f, p) for f, p in patches if p is not None and p.judgeable)
        real = _Real(series, scene, outline(picture), shown)
        self._outlines += real.outline.tobytes()
        for _, patch in shown:
            self._numbers["visibility"].append(abs(patch.contrast) / patch.noise)
        if self._last is not None and self._last.series == series:
            for name, number in _compare(self._last, real):
                self._numbers[name].append(number)
        self._last = real

    def gates(self, latents: LatentStatistics | None = None) -> Gates:
        """Build the gates.

        Args:
            latents: Latents of the training set; None to omit the plausibility gate.

        Raises:
            ValueError: If no slice was added.
        """
        if self._last is None:
            raise ValueError("gates need one real slice or more")
        # If all latents coincide, a distance relative to their spread is meaningless.
        known = None if latents is None or not latents.factor.any() else TrainingLatents(latents)
        numbers = dict(self._numbers)
        if known is not None:
            numbers["remoteness"] = array("d", known.held_out())
        outlines = np.array(np.frombuffer(self._outlines, np.float32))
        return Gates(Limits.of(numbers), outlines.reshape(-1, len(self._last.outline)), known)


def _compare(one: _Real, other: _Real) -> Iterator[tuple[str, float]]:
    """Yield measurements between two neighbouring slices, each with the name of its limit."""
    yield "distance", float(np.linalg.norm(one.outline.astype(np.float64) - other.outline))
    for here, there in ((one, other), (other, one)):
        for finding, patch in here.shown:
            same_place = Patch.of(there.scene, finding)
            if same_place is not None:
                yield "change", change(patch, same_place)
    for a, b in _same_findings(one.shown, other.shown):
        for before, after in ((a.patch, b.patch), (b.patch, a.patch)):
            kept = contrast_kept(before, after, Limits.visibility)
            yield "contrast", max(kept, 1 / max(kept, _NOTHING_LEFT))
        yield "similarity", float(similarity(a.patch.picture, b.patch.picture))
        growth = a.finding.box.area / b.finding.box.area
        yield "area", max(growth, 1 / growth)


def _same_findings(
    one: Sequence[_Shown], other: Sequence[_Shown]
) -> Iterator[tuple[_Shown, _Shown]]:
    """Yield pairs of the same category that overlap well and are each other's best match."""
    overlap = np.array([[_overlap(a.finding, b.finding) for b in other] for a in one])
    for row, column in np.argwhere(overlap >= _SAME):
        if overlap[row, column] == max(overlap[row].max(), overlap[:, column].max()):
            yield one[row], other[column]


def _overlap(a: Finding, b: Finding) -> float:
    """Return the intersection over union of two boxes, or 0 if their categories differ."""
    return a.box.iou(b.box) if a.category == b.category else 0.0
