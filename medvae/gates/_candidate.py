"""What the gates judge, and what they say of it."""

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
    """Where a finding comes from.

    Attributes:
        scene: a real slice.
        finding: what it was there.
    """

    scene: Scene
    finding: Finding


@dataclass(frozen=True, eq=False)
class Candidate:
    """A rendered slice that is to be judged.

    Attributes:
        source: the slice that it was rendered from; of a transplant, the host.
        rendered: its findings are those of the source, in their order, and then the transplanted.
        picture: what the model sees of it, ``[size, size]``, by the source's canvas and intensity.
        mu: posterior mean of that picture; None to leave plausibility out.
        donor: of a transplant; of a lesion that runs through several slices, the nearest one, and
            the largest finding there.
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
        """Where each finding should come from, in the order of the rendered ones."""
        own = [Origin(self.source, finding) for finding in self.source.labels]
        if self.donor is None:
            return own
        transplanted = max(1, len(self.rendered.labels) - len(own))
        return own + [self.donor] * transplanted


@dataclass(frozen=True)
class Verdict:
    """What a gate says of a candidate.

    Attributes:
        gate: its name.
        measure: what it has measured.
        value: the number; where there are several findings, that of the worst.
        low, high: between which the number must lie; None where there is no limit.
    """

    gate: str
    measure: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the number is within its limits; what is not finite is not."""
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return math.isfinite(self.value) and low <= self.value <= high

    @property
    def reason(self) -> str:
        """Why the candidate is rejected, in words that are the same for all that fail alike."""
        if not math.isfinite(self.value):
            return f"{self.gate}: {self.measure} is not a number"
        side = "low" if self.low is not None and self.value < self.low else "high"
        return f"{self.gate}: {self.measure} too {side}"
