"""The gate `labels`: no finding is lost, and each box is plausible for its origin."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from medvae.gates._draft import Draft, Verdict
from medvae.gates._gate import Gate, Limit, RealSlice
from medvae.gates._lesion import same_findings
from medvae.records import Finding
from medvae.render import Scene

_LEAST_SIDE = 0.5
_NOTHING = 1e-9


class LabelsGate(Gate):
    """Gate on the number of findings and on their boxes.

    Its limit is ``area``, the factor by which a box may grow or shrink: 95 % of pairs of boxes that
    show the same finding on neighbouring slices stay within it.
    """

    name = "labels"
    limits: ClassVar[Mapping[str, Limit]] = {"area": Limit(2.5, 95, 2.5, 4.0)}
    by_median = frozenset(("area",))

    @classmethod
    def compare(cls, one: RealSlice, other: RealSlice) -> Iterator[tuple[str, float]]:
        """Yield by which factor the boxes of the same findings differ."""
        for (before, _), (after, _) in same_findings(one, other):
            growth = before.box.area / after.box.area
            yield "area", max(growth, 1 / growth)

    def judge(self, draft: Draft) -> Iterator[Verdict]:
        """Judge the boxes of a draft, each measure only if those before it passed."""
        findings, origins = draft.findings, draft.origins
        expected = float(len(origins))
        number = Verdict(self.name, "number", float(len(findings)), expected, expected)
        yield number
        if not findings or not number.passed:
            return
        boxes = np.array([finding.box for finding in findings])
        rows, columns = draft.rendered.values.shape
        room = np.minimum(boxes[:, :2], (columns, rows) - boxes[:, 2:])
        side = boxes[:, 2:] - boxes[:, :2]
        bounds = (
            Verdict(self.name, "room to the border", float(room.min()), 0.0),
            Verdict(self.name, "side", float(side.min()), _LEAST_SIDE),
        )
        yield from bounds
        if all(verdict.passed for verdict in bounds):
            growth = [
                _growth(origin, draft.scene, finding)
                for origin, finding in zip(origins, findings, strict=True)
            ]
            worst = max(growth, key=lambda factor: abs(math.log(factor)))
            most = self.reference.limits["area"]
            yield Verdict(self.name, "area", worst, 1 / most, most)


def _growth(origin: tuple[Scene, Finding], scene: Scene, finding: Finding) -> float:
    """Return the growth factor of a box: in space, or on the canvas if spacing is unknown."""
    in_space = bool(origin[0].spacing and scene.spacing)
    before = _area(*origin, in_space)
    return max(_area(scene, finding, in_space), _NOTHING) / max(before, _NOTHING)


def _area(scene: Scene, finding: Finding, in_space: bool) -> float:
    boxes = np.array([finding.box])
    unit = math.prod(scene.spacing or ()) if in_space else scene.canvas.size**-2.0
    x0, y0, x1, y1 = (boxes if in_space else scene.canvas.boxes(boxes))[0].tolist()
    return float((x1 - x0) * (y1 - y0) * unit)
