"""The findings of a set, with what is needed to judge them when their slices are gone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medvae.gates import Calibration, Limits, Patch
from medvae.records import Box, Finding, Mask
from medvae.render import Scene

__all__ = ["FindingBook", "Shown", "ShownSlice"]

_EMPTY = 0.02
"""Model units: a place that shows less than that is outside of the patient."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A finding as its slice shows it.

    Attributes:
        category: its name.
        box: on the canvas, as shares of its side.
        patch: what is in the box and around it; None where there is too little around it to
            compare it with.
        elsewhere: contrast-to-noise at the mirrored place on the same slice, where nothing was
            found; None where there is no such place.
    """

    category: str
    box: Box
    patch: Patch | None
    elsewhere: float | None

    @property
    def visibility(self) -> float:
        """Contrast-to-noise, above 0 where the finding is brighter than what is around it."""
        return float("nan") if self.patch is None else visibility(self.patch)


@dataclass(frozen=True, eq=False)
class ShownSlice:
    """A slice with its findings.

    Attributes:
        key: of the slice.
        groups: patients in it.
        sources: keys of the real slices that it declares.
        findings: in the order of its labels.
    """

    key: str
    groups: tuple[str, ...]
    sources: tuple[str, ...]
    findings: tuple[Shown, ...]


class FindingBook:
    """The findings of one set: it is shown each slice once, and keeps 12 KB of a finding.

    Show it slices of a series one after another, in their order.

    Attributes:
        slices: all that it was shown, with findings or without.
    """

    def __init__(self) -> None:
        self.slices: list[ShownSlice] = []
        self._calibration = Calibration()

    def add(
        self,
        series: str,
        key: str,
        groups: tuple[str, ...],
        scene: Scene,
        picture: NDArray[np.float32],
        sources: tuple[str, ...] = (),
    ) -> None:
        """Look at a slice.

        Args:
            series: key of its series.
            key: of the slice.
            groups: patients in it.
            scene: the slice, with its findings.
            picture: on the model's canvas, ``[size, size]`` in [0, 1].
            sources: keys of the real slices that it declares; the last is the one that it is on.
        """
        if not sources:
            self._calibration.add(series, scene, picture)
        findings = tuple(_shown(scene, finding) for finding in scene.labels)
        self.slices.append(ShownSlice(key, groups, sources, findings))

    def limits(self) -> Limits:
        """Return the limits of the gates, as the slices say that declare no sources.

        Raises:
            ValueError: there is no such slice.
        """
        return self._calibration.gates().limits

    def __len__(self) -> int:
        """How many findings there are."""
        return sum(len(shown.findings) for shown in self.slices)


def visibility(patch: Patch) -> float:
    """Return contrast-to-noise."""
    return patch.contrast / patch.noise


def _shown(scene: Scene, finding: Finding) -> Shown:
    patch = Patch.of(scene, finding)
    if patch is None or not patch.judgeable:
        patch = None
    box = scene.canvas.boxes(np.array([finding.box]))[0] / scene.canvas.size
    x0, y0, x1, y1 = box.tolist()
    return Shown(finding.category.name, (x0, y0, x1, y1), patch, _elsewhere(scene, finding))


def _elsewhere(scene: Scene, finding: Finding) -> float | None:
    """Measure the mirrored place: from left to right, from top to bottom, or both."""
    for across, down in ((True, False), (False, True), (True, True)):
        there = _mirrored(finding, scene.values.shape, across, down)
        if any(_touch(there.box, other.box) for other in scene.labels):
            continue
        patch = Patch.of(scene, there)
        if patch is not None and patch.judgeable and float(patch.picture.max()) > _EMPTY:
            return visibility(patch)
    return None


def _mirrored(finding: Finding, shape: tuple[int, ...], across: bool, down: bool) -> Finding:
    x0, y0, x1, y1 = finding.box
    rows, columns = shape
    if across:
        x0, x1 = columns - x1, columns - x0
    if down:
        y0, y1 = rows - y1, rows - y0
    mask = finding.mask
    if mask is not None:
        height, width = mask.crop.shape
        row = rows - mask.row - height if down else mask.row
        column = columns - mask.column - width if across else mask.column
        mask = Mask(row, column, mask.crop[:: -1 if down else 1, :: -1 if across else 1])
    return replace(finding, box=(x0, y0, x1, y1), mask=mask)


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
