"""Lesions traced through the series of a run, with the slices that show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from medvae.augmentation._axis import Axis
from medvae.augmentation._sources import Located, by_series
from medvae.render import trace_lesions

__all__ = ["Traced", "trace"]


@dataclass(frozen=True, eq=False)
class Traced:
    """A lesion traced through a series.

    Attributes:
        number: Index among the lesions of the series, from 0.
        sections: Slices that show the lesion, in order, with the indices of its findings on each.
    """

    number: int
    sections: tuple[tuple[Located, tuple[int, ...]], ...]

    @property
    def largest(self) -> Located:
        """The slice that shows most of the lesion."""
        item, _ = max(self.sections, key=lambda section: _shown(*section))
        return item

    def ends(self, axis: Axis) -> tuple[float, float]:
        """Return the extent of the lesion below and above its centre, on the axis of its series."""
        places = [axis.places[item.place] for item, _ in self.sections]
        weights = [_shown(*section) for section in self.sections]
        centre = float(np.average(places, weights=weights))
        return centre - min(places) + axis.gap / 2, max(places) + axis.gap / 2 - centre


def trace(items: Iterable[Located]) -> Iterator[Traced]:
    """Trace all lesions through the series of slices, which are given in their order."""
    for series in by_series(items):
        lesions = trace_lesions([item.native.labels for item in series])
        for number, shown in enumerate(lesions):
            yield Traced(number, tuple((series[i], shown[i]) for i in sorted(shown)))


def _shown(item: Located, findings: Iterable[int]) -> float:
    labels = item.native.labels
    return 0.0 if labels is None else sum(labels.findings[i].area for i in findings)
