"""The gate `labels`: no finding is lost, and each box is plausible for its origin."""

from __future__ import annotations

import math

import numpy as np

from medvae.gates._candidate import Candidate, Origin, Verdict
from medvae.gates._limits import Limits
from medvae.geometry import Box
from medvae.records import Finding
from medvae.render import Scene

__all__ = ["judge_labels"]

_LEAST_SIDE = 0.5
_NOTHING = 1e-9


def judge_labels(candidate: Candidate, limits: Limits) -> list[Verdict]:
    """Judge the boxes of a candidate, each measure only if those before it passed."""
    findings, origins = candidate.rendered.labels.findings, candidate.origins
    expected = float(len(origins))
    verdicts = [Verdict("labels", "number", float(len(findings)), expected, expected)]
    if not findings or not verdicts[0].passed:
        return verdicts
    boxes = candidate.rendered.labels.boxes
    rows, columns = candidate.rendered.values.shape
    room = np.minimum(boxes[:, :2], (columns, rows) - boxes[:, 2:])
    side = boxes[:, 2:] - boxes[:, :2]
    verdicts.append(Verdict("labels", "room to the border", float(room.min()), 0.0))
    verdicts.append(Verdict("labels", "side", float(side.min()), _LEAST_SIDE))
    if all(verdict.passed for verdict in verdicts):
        growth = [
            _growth(origin, candidate.source, finding)
            for origin, finding in zip(origins, findings, strict=True)
        ]
        worst = max(growth, key=lambda factor: abs(math.log(factor)))
        verdicts.append(Verdict("labels", "area", worst, 1 / limits.area, limits.area))
    return verdicts


def _growth(origin: Origin, scene: Scene, finding: Finding) -> float:
    """Return the growth factor of a box: in space, or on the canvas if spacing is unknown."""
    in_space = bool(origin.scene.spacing and scene.spacing)
    before = _area(origin.scene, origin.finding, in_space)
    return max(_area(scene, finding, in_space), _NOTHING) / max(before, _NOTHING)


def _area(scene: Scene, finding: Finding, in_space: bool) -> float:
    boxes = np.array([finding.box])
    unit = math.prod(scene.spacing or ()) if in_space else scene.canvas.size**-2.0
    return Box(*(boxes if in_space else scene.canvas.boxes(boxes))[0].tolist()).area * unit
