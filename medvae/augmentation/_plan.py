"""Plan of the synthetic slices to generate: draws, in batches, in a fixed order."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from medvae.augmentation._settings import Settings
from medvae.augmentation._sources import Located, by_series
from medvae.augmentation._traced import Traced, trace
from medvae.errors import UsageProblem
from medvae.records import pseudonym

__all__ = ["BATCH", "Batch", "Draw", "plan"]

BATCH = 16
"""Number of slices processed together."""


@dataclass(frozen=True, eq=False)
class Draw:
    """One synthetic slice to generate, or a series into which one whole lesion is transplanted.

    Attributes:
        source: Slice that is varied, or whose lesion is transplanted; for a whole lesion, the
            slice that shows most of it.
        copy: Number of this copy of the source, from 1.
        seed: Random seed of the run.
        lesion: Whole lesion that is transplanted, through all its slices.
    """

    source: Located
    copy: int
    seed: int
    lesion: Traced | None = None

    @cached_property
    def key(self) -> str:
        """The name of the result, which also determines its random numbers."""
        source = (self.source.series.key, self.source.native.key)
        lesion = () if self.lesion is None else (f"lesion {self.lesion.number}",)
        return pseudonym("draw", str(self.seed), *source, str(self.copy), *lesion)

    @property
    def decoded(self) -> tuple[Located, ...]:
        """The slices whose pixels the draw needs."""
        if self.lesion is None:
            return (self.source,)
        return tuple(item for item, _ in self.lesion.sections)

    @property
    def series_key(self) -> str:
        """The name of the synthetic series: one for each source series and copy."""
        return pseudonym("series", str(self.seed), self.source.series.key, str(self.copy))


@dataclass(frozen=True, eq=False)
class Batch:
    """Draws that are processed together, and whose manifest lines are adjacent.

    Attributes:
        draws: Draws of single slices, of one copy of a whole series, or of one whole lesion.
        whole: Whether the result is a series, drawn as a unit.
    """

    draws: tuple[Draw, ...]
    whole: bool = False

    @cached_property
    def key(self) -> str:
        """The name of the batch in the manifest."""
        return pseudonym("batch", *(draw.key for draw in self.draws))


def plan(sources: Sequence[Located], settings: Settings, transplants: bool) -> list[Batch]:
    """Plan the draws of all sources.

    Args:
        sources: Slices in the order of ``Located.order``.
        settings: Settings with the number of draws, and whether slices or series are drawn.
        transplants: Whether lesions are drawn, so that only slices with a finding can be sources.

    Raises:
        UsageProblem: If no slice can be a source.
    """
    positive_alone = transplants or settings.only_positive
    chosen = [item for item in sources if not positive_alone or item.native.labels]
    if not chosen:
        raise UsageProblem(
            "none of the slices has a finding: give their labels with --labels, or leave "
            "--only-positive and transplant out"
        )
    if settings.per == "study":
        if settings.ratio is not None:
            raise UsageProblem("ratio is for single slices: with --per study give --copies")
        if not transplants:
            return list(_of_series(sources, chosen, settings))
        lesions = [Draw(item.largest, 1, settings.seed, item) for item in trace(sources)]
        draws = _spread(lesions, settings.copies * len(lesions), settings.balance == "patients")
        return [Batch((draw,), whole=True) for draw in draws]
    wanted = settings.copies * len(chosen)
    if settings.ratio is not None:
        wanted = max(1, round(settings.ratio * len(sources)))
    firsts = [Draw(item, 1, settings.seed) for item in chosen]
    draws = _spread(firsts, wanted, transplants and settings.balance == "patients")
    return [Batch(tuple(draws[i : i + BATCH])) for i in range(0, len(draws), BATCH)]


def _spread(firsts: Sequence[Draw], wanted: int, over_patients: bool) -> list[Draw]:
    """Return the wanted number of draws, in the order of their sources.

    Args:
        firsts: The first draw of each source.
        wanted: The number of draws.
        over_patients: Whether to spread draws evenly over patients, and over the sources of each
            patient; otherwise they are spread evenly over sources, regardless of the patient.
    """
    parts: dict[str, list[int]] = {}
    for place, first in enumerate(firsts):
        parts.setdefault(first.source.native.group if over_patients else "", []).append(place)
    # If the number does not divide evenly, an order that depends on the seed decides who gets one
    # more.
    everyone = sorted(parts.values(), key=lambda part: _order(firsts[part[0]]))
    drawn: list[tuple[int, int]] = []
    for number, part in enumerate(everyone):
        share = wanted // len(parts) + (number < wanted % len(parts))
        copies = max(1, math.ceil(share / len(part)))
        drawn += [(place, copy) for place in part for copy in range(1, copies)]
        last = sorted(part, key=lambda place: _order(replace(firsts[place], copy=copies)))
        drawn += [(place, copies) for place in last[: share - (copies - 1) * len(part)]]
    return [replace(firsts[place], copy=copy) for place, copy in sorted(drawn)]


def _order(draw: Draw) -> bytes:
    return hashlib.blake2b(draw.key.encode()).digest()


def _of_series(
    sources: Sequence[Located], chosen: Sequence[Located], settings: Settings
) -> Iterator[Batch]:
    wanted = {item.series.key for item in chosen}
    for series in by_series(sources):
        if series[0].series.key not in wanted:
            continue
        for copy in range(1, settings.copies + 1):
            yield Batch(tuple(Draw(item, copy, settings.seed) for item in series), whole=True)
