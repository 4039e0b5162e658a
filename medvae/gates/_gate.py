"""What a gate is: its limits, what it learns from real slices, and what its failure asks for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvae.gates._draft import Draft, Retry, Verdict
from medvae.gates._patch import Patch
from medvae.latent import LatentStatistics
from medvae.records import Finding
from medvae.render import Scene

_FEWEST = 40
"""Smallest number of values from which a low or high percentile can be taken."""

_SIDE = 16

OUTLINE = _SIDE**2
"""Number of values of an outline."""

Picture = NDArray[np.float32]


class Limit(NamedTuple):
    """A limit of a gate: a percentile of values measured on real slices, clipped to bounds.

    Neighbouring slices that are a millimetre apart are too alike, and those a centimetre apart too
    different, to show how far a slice may be varied; hence the bounds.

    Attributes:
        default: Limit that is used if fewer than 40 values were measured.
        percentile: The percentile; None if the limit is not measured.
        least, most: The bounds.
    """

    default: float
    percentile: float | None = None
    least: float = -math.inf
    most: float = math.inf

    def of(self, values: Sequence[float]) -> float:
        """Return the limit for values, in any order."""
        if self.percentile is None:
            return self.default
        return float(np.clip(np.percentile(values, self.percentile), self.least, self.most))


@dataclass(frozen=True)
class Limits:
    """Limits for synthetic slices, taken from real ones.

    Attributes:
        values: The limits by name.
        measured: Number of values behind each limit; limits left at their default are absent.
    """

    values: Mapping[str, float]
    measured: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, rules: Mapping[str, Limit], numbers: Mapping[str, Sequence[float]]) -> Limits:
        """Return the limits for measured values, given by the name of the limit."""
        enough = {name: found for name, found in numbers.items() if len(found) >= _FEWEST}
        values = {
            name: rule.of(enough[name]) if name in enough else rule.default
            for name, rule in rules.items()
        }
        return cls(values, {name: len(found) for name, found in enough.items()})

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def record(self) -> dict[str, Any]:
        """Return the limits as plain JSON."""
        return {**self.values, "measured": dict(self.measured)}


@dataclass(frozen=True, eq=False)
class RealSlice:
    """A real slice from which gates learn their limits.

    Attributes:
        scene: The slice.
        picture: The slice as the model sees it, ``[size, size]``.
    """

    scene: Scene
    picture: Picture

    @cached_property
    def outline(self) -> Picture:
        """The coarse shape of the slice."""
        return outline(self.picture)

    @cached_property
    def patches(self) -> list[tuple[Finding, Patch]]:
        """The findings that have enough surroundings to be compared with, and their patches."""
        found = ((finding, Patch.of(self.scene, finding)) for finding in self.scene.labels)
        return [(one, patch) for one, patch in found if patch is not None and patch.judgeable]


@dataclass(frozen=True, eq=False)
class Reference:
    """What drafts are compared with.

    Attributes:
        limits: Limits of all gates.
        outlines: Outlines of the real slices, ``[N, 256]``.
        latents: Latents of the training set of the model; None if they are unknown.
    """

    limits: Limits
    outlines: NDArray[np.float32]
    latents: LatentStatistics | None = None


class Gate(ABC):
    """A question that every draft must answer with yes to be kept.

    A gate that does not apply to a draft gives no verdict.

    Args:
        reference: Real slices with which drafts are compared, and the limits.

    Attributes:
        name: Name in reasons and in the manifest.
        limits: Limits by name; a name belongs to one gate.
        by_median: Measures of which the median decides in a series: even in a real series, some of
            the many slices exceed the limits for single slices.
    """

    name: ClassVar[str]
    limits: ClassVar[Mapping[str, Limit]] = {}
    by_median: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, reference: Reference) -> None:
        self.reference = reference

    @classmethod
    def observe(cls, real: RealSlice) -> Iterator[tuple[str, float]]:
        """Yield what one real slice says about limits, each value with the name of the limit."""
        return iter(())

    @classmethod
    def compare(cls, one: RealSlice, other: RealSlice) -> Iterator[tuple[str, float]]:
        """Yield what two neighbouring real slices say about limits."""
        return iter(())

    @classmethod
    def learn(cls, latents: LatentStatistics) -> Iterator[tuple[str, float]]:
        """Yield what the training set of the model says about limits."""
        return iter(())

    @abstractmethod
    def judge(self, draft: Draft) -> Iterator[Verdict]:
        """Yield the verdicts on a draft, which do not depend on other drafts."""

    def counts(self, draft: Draft, series: Sequence[Draft]) -> bool:
        """Return whether a slice of a series counts in the median."""
        return True

    def retry(self, draft: Draft) -> Retry:
        """Return what the next attempt should be like if this gate rejects a draft."""
        return Retry.WEAKER


def outline(picture: Picture) -> Picture:
    """Return the coarse shape of a canvas picture: a unit vector with a mean of 0, ``[256]``.

    A copy that is brighter or has more contrast is still a copy, and so is one that differs only
    in noise or the finest detail.
    """
    small = Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    shape = np.asarray(small, dtype=np.float64).ravel()
    shape = shape - shape.mean()
    length = np.sqrt(np.square(shape).sum())
    result: Picture = (shape / length if length > 0 else shape).astype(np.float32)
    return result
