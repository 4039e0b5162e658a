"""The findings of a set, with what is needed to judge them without their slices."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medvae.gates import Calibration, Limits, Patch
from medvae.geometry import Box
from medvae.records import Finding, Mask
from medvae.render import Scene

_EMPTY = 0.02
"""Level in model units below which a place is outside the patient."""


@dataclass(frozen=True, eq=False)
class MeasuredFinding:
    """A finding with what its slice shows there.

    Attributes:
        category: Name of the category.
        box: Box on the canvas, as fractions of the side of the canvas.
        patch: Patch of the box and its surroundings; None if there is too little around the finding
            to compare it with.
        elsewhere: Contrast-to-noise at a mirrored place on the same slice that has no finding; None
            if there is no such place.
    """

    category: str
    box: Box
    patch: Patch | None
    elsewhere: float | None

    @classmethod
    def of(cls, scene: Scene, finding: Finding) -> MeasuredFinding:
        """Measure a finding on its slice."""
        patch = Patch.of(scene, finding)
        if patch is not None and not patch.judgeable:
            patch = None
        box = scene.canvas.boxes(np.array([finding.box]))[0] / scene.canvas.size
        return cls(finding.category.name, Box(*box.tolist()), patch, _elsewhere(scene, finding))

    @property
    def visibility(self) -> float:
        """Contrast-to-noise, above 0 if the finding is brighter than its surroundings."""
        return float("nan") if self.patch is None else self.patch.contrast / self.patch.noise


@dataclass(frozen=True, eq=False)
class SliceFindings:
    """The findings of a slice.

    Attributes:
        key: Key of the slice.
        groups: Patients in the slice.
        sources: Keys of the real slices that it declares.
        findings: Findings in the order of the labels.
    """

    key: str
    groups: tuple[str, ...]
    sources: tuple[str, ...]
    findings: tuple[MeasuredFinding, ...]


class SetFindings:
    """The findings of one set, at 12 KB for each finding.

    Each slice is added once; add the slices of a series consecutively, in their order.

    Attributes:
        slices: All slices that were added, with or without findings.
    """

    def __init__(self) -> None:
        self.slices: list[SliceFindings] = []
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
        """Add a slice.

        Args:
            series: Key of the series.
            key: Key of the slice.
            groups: Patients in the slice.
            scene: The slice with its findings.
            picture: The slice on the model's canvas, ``[size, size]`` in [0, 1].
            sources: Keys of the real slices that it declares; the last one is the host.
        """
        if not sources:
            self._calibration.add(series, scene, picture)
        findings = tuple(MeasuredFinding.of(scene, finding) for finding in scene.labels)
        self.slices.append(SliceFindings(key, groups, sources, findings))

    @property
    def categories(self) -> set[str]:
        """Names of the categories of all findings."""
        return {one.category for slice_ in self.slices for one in slice_.findings}

    def boxes(self, category: str) -> NDArray[np.float64]:
        """Return the boxes of a category, ``[N, 4]``, as fractions of the side of the canvas."""
        found = [f.box for one in self.slices for f in one.findings if f.category == category]
        return np.array(found, np.float64).reshape(-1, 4)

    def limits(self) -> Limits:
        """Return the limits of the gates, computed from the slices that declare no sources.

        Raises:
            ValueError: If there is no such slice.
        """
        return self._calibration.gates().limits

    def __len__(self) -> int:
        """Return the number of findings."""
        return sum(len(one.findings) for one in self.slices)


def _elsewhere(scene: Scene, finding: Finding) -> float | None:
    """Measure the first usable mirrored place: left to right, top to bottom, or both."""
    for across, down in ((True, False), (False, True), (True, True)):
        mirrored = _mirrored(finding, scene.values.shape, across, down)
        if any(mirrored.box.iou(other.box) > 0 for other in scene.labels):
            continue
        patch = Patch.of(scene, mirrored)
        if patch is not None and patch.judgeable and float(patch.picture.max()) > _EMPTY:
            return patch.contrast / patch.noise
    return None


def _mirrored(finding: Finding, shape: tuple[int, ...], across: bool, down: bool) -> Finding:
    x0, y0, x1, y1 = finding.box
    rows, columns = shape
    x0, x1 = (columns - x1, columns - x0) if across else (x0, x1)
    y0, y1 = (rows - y1, rows - y0) if down else (y0, y1)
    mask = finding.mask
    if mask is not None:
        mask = Mask.of(mask.on((rows, columns))[:: -1 if down else 1, :: -1 if across else 1])
    return replace(finding, box=Box(x0, y0, x1, y1), mask=mask)
