"""Drafts of synthetic slices, which the gates judge, and their verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medvae.records import Finding, Labels
from medvae.render import Rendered, Scene


class Retry(Enum):
    """What the next attempt at a draft should be like."""

    WEAKER = "weaker"
    STRONGER = "stronger"
    OTHER_HOST = "another host"


@dataclass(frozen=True)
class Verdict:
    """The verdict of a gate on a draft.

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
        """Why the draft is rejected, worded the same for all that fail in the same way."""
        if not math.isfinite(self.value):
            return f"{self.gate}: {self.measure} is not a number"
        side = "low" if self.low is not None and self.value < self.low else "high"
        return f"{self.gate}: {self.measure} too {side}"


@dataclass(frozen=True, eq=False)
class Draft:
    """One attempt to make a synthetic slice, from drawing to verdict.

    Attributes:
        scene: Real slice that is changed: the source, or the host of a transplant.
        rendered: The result, with the findings of that slice in order, then transplanted ones.
        donor: Real slice that shows the transplanted lesion; None if there is none on this slice.
            For a lesion that extends through several slices, it is the nearest one.
        finding: Index of the lesion among the findings of the donor; of several, the largest.
        in_series: Whether this is a slice of a series into which a whole lesion is transplanted.
        key: Name of the synthetic slice.
        strength: Strength of the attempt.
        partner: Key of the slice that the latent was drawn towards.
        mu: Posterior mean of the result; None to omit the gate that requires it.
        verdicts: Verdicts of the gates.
        reason: Reason for the rejection; None if the draft is kept.
        retry: What the next attempt should be like if the draft is rejected.
    """

    scene: Scene
    rendered: Rendered
    donor: Scene | None = None
    finding: int = 0
    in_series: bool = False
    key: str = ""
    strength: float = 1.0
    partner: str | None = None
    mu: Tensor | None = None
    verdicts: tuple[Verdict, ...] = ()
    reason: str | None = None
    retry: Retry = Retry.WEAKER

    @cached_property
    def picture(self) -> NDArray[np.float32]:
        """The result as the model sees it, ``[size, size]``, mapped like the real slice."""
        return self.scene.picture(self.rendered.values)

    def encoded(self, mu: Tensor) -> Draft:
        """Return the draft with the posterior mean of its picture, which is not made again."""
        draft = replace(self, mu=mu)
        vars(draft)["picture"] = self.picture
        return draft

    @cached_property
    def result(self) -> Scene:
        """The result with the findings that the gates judge."""
        return self.scene.changed(replace(self.rendered, labels=Labels(self.findings)))

    @property
    def unchanged(self) -> bool:
        """Whether this is a slice of a host beyond the ends of a whole lesion."""
        return self.in_series and self.donor is None and self.rendered.values is self.scene.values

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The findings to judge; of a whole lesion in pieces, only the largest on the slice."""
        own, found = len(self.scene.labels), self.rendered.labels.findings
        if self.in_series and self.donor is not None and len(found) > own:
            return (*found[:own], max(found[own:], key=lambda finding: finding.area))
        return found

    @property
    def origins(self) -> list[tuple[Scene, Finding]]:
        """The real slice and finding that each of the findings is expected to come from."""
        own = [(self.scene, finding) for finding in self.scene.labels]
        if self.donor is None:
            return own
        lesion = self.donor.labels.findings[self.finding]
        return own + [(self.donor, lesion)] * max(1, len(self.findings) - len(own))
