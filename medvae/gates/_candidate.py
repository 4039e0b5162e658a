"""Candidates that the gates judge, and their verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medvae.records import Finding
from medvae.render import Rendered, Scene

__all__ = ["Candidate", "Origin", "Verdict"]


@dataclass(frozen=True, eq=False)
class Origin:
    """The origin of a finding.

    Attributes:
        scene: The real slice.
        finding: The finding on that slice.
    """

    scene: Scene
    finding: Finding


@dataclass(frozen=True, eq=False)
class Candidate:
    """A rendered slice to be judged.

    Attributes:
        source: The slice that it was rendered from; for a transplant, the host.
        rendered: The result, with the findings of the source in order, then transplanted ones.
        picture: The slice as the model sees it, ``[size, size]``, with the canvas and intensity of
            the source.
        mu: Posterior mean of that picture; None to omit the plausibility gate.
        donor: Donor of a transplant; for a lesion that spans several slices, the nearest slice and
            the largest finding on it.
    """

    source: Scene
    rendered: Rendered
    picture: NDArray[np.float32]
    mu: Tensor | None = None
    donor: Origin | None = None

    @property
    def scene(self) -> Scene:
        """The rendered slice as a scene of its own."""
        return replace(self.source, values=self.rendered.values, labels=self.rendered.labels)

    @property
    def origins(self) -> list[Origin]:
        """The expected origin of each finding, in the order of the rendered findings."""
        own = [Origin(self.source, finding) for finding in self.source.labels]
        if self.donor is None:
            return own
        transplanted = max(1, len(self.rendered.labels) - len(own))
        return own + [self.donor] * transplanted


@dataclass(frozen=True)
class Verdict:
    """The verdict of a gate on a candidate.

    Attributes:
        gate: Name of the gate.
        measure: Name of the measure.
        value: The measured value; with several findings, that of the worst one.
        low, high: Limits between which the value must lie; None for no limit.
    """

    gate: str
    measure: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the value is finite and within its limits."""
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return math.isfinite(self.value) and low <= self.value <= high

    @property
    def reason(self) -> str:
        """Why the candidate is rejected, worded the same for all that fail in the same way."""
        if not math.isfinite(self.value):
            return f"{self.gate}: {self.measure} is not a number"
        side = "low" if self.low is not None and self.value < self.low else "high"
        return f"{self.gate}: {self.measure} too {side}"
