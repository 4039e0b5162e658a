"""Which synthetic slices are to be made: the draws, in batches, in an order of their own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from medvae.augmentation._network import BATCH
from medvae.augmentation._settings import Settings
from medvae.augmentation._sources import Located, by_series
from medvae.augmentation._traced import Traced, trace
from medvae.errors import UsageProblem
from medvae.records import pseudonym

__all__ = ["Batch", "Draw", "plan"]


@dataclass(frozen=True, eq=False)
class Draw:
    """One synthetic slice to be made, or a series into which one whole lesion is transplanted.

    Attributes:
        source: the slice that is varied, or whose lesion is transplanted: of a whole lesion, the
            slice that shows most of it.
        copy: which one of this source, from 1.
        seed: of the whole run.
        lesion: the whole lesion that is transplanted, through all its slices.
    """

    source: Located
    copy: int
    seed: int
    lesion: Traced | None = None

    @cached_property
    def key(self) -> str:
        """The name of what is made, and what its random numbers depend on."""
        source = (self.source.series.key, self.source.native.key)
        lesion = () if self.lesion is None else (f"lesion {self.lesion.number}",)
        return pseudonym("draw", str(self.seed), *source, str(self.copy), *lesion)

    @property
    def decoded(self) -> tuple[Located, ...]:
        """The slices whose pixels it takes."""
        if self.lesion is None:
            return (self.source,)
        return tuple(item for item, _ in self.lesion.sections)

    @property
    def series_key(self) -> str:
        """The name of the synthetic series: one for each source series and copy."""
        return pseudonym("series", str(self.seed), self.source.series.key, str(self.copy))


@dataclass(frozen=True, eq=False)
class Batch:
    """Draws that are made together, and whose lines in the manifest come together.

    Attributes:
        draws: single slices, those of one copy of a whole series, or one whole lesion.
        whole: a series comes of it, drawn as one.
    """

    draws: tuple[Draw, ...]
    whole: bool = False

    @cached_property
    def key(self) -> str:
        """Its name in the manifest."""
        return pseudonym("batch", *(draw.key for draw in self.draws))


def plan(sources: Sequence[Located], settings: Settings, transplants: bool) -> list[Batch]:
    """Plan the draws of all sources.

    Args:
        sources: in their own order.
        settings: how many are asked for, and by the slice or the series.
        transplants: lesions are drawn, so that only slices with a finding can be sources.

    Raises:
        UsageProblem: no slice can be a source.
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
        if transplants:
            return list(_of_lesions(sources, settings))
        return list(_of_series(sources, chosen, settings))
    draws = _draws(chosen, settings, real=len(sources))
    return [Batch(tuple(draws[i : i + BATCH])) for i in range(0, len(draws), BATCH)]


def _draws(chosen: Sequence[Located], settings: Settings, real: int) -> list[Draw]:
    wanted = settings.copies * len(chosen)
    if settings.ratio is not None:
        wanted = max(1, round(settings.ratio * real))
    copies = math.ceil(wanted / len(chosen))
    draws = [Draw(item, copy, settings.seed) for item in chosen for copy in range(1, copies + 1)]
    # Of the last copy only some are wanted: those whose keys come first in an order of the seed.
    last = sorted(
        (draw for draw in draws if draw.copy == copies),
        key=lambda draw: hashlib.blake2b(draw.key.encode()).digest(),
    )
    left_out = set(last[len(last) - (len(draws) - wanted) :]) if len(draws) > wanted else set()
    return [draw for draw in draws if draw not in left_out]


def _of_series(
    sources: Sequence[Located], chosen: Sequence[Located], settings: Settings
) -> Iterator[Batch]:
    wanted = {item.series.key for item in chosen}
    for series in by_series(sources):
        if series[0].series.key not in wanted:
            continue
        for copy in range(1, settings.copies + 1):
            yield Batch(tuple(Draw(item, copy, settings.seed) for item in series), whole=True)


def _of_lesions(sources: Sequence[Located], settings: Settings) -> Iterator[Batch]:
    for lesion in trace(sources):
        for copy in range(1, settings.copies + 1):
            yield Batch((Draw(lesion.largest, copy, settings.seed, lesion),), whole=True)
