"""Whether a synthetic finding still holds a lesion, by the best evidence that there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvae.audit._copies import Nearest
from medvae.audit._findings import FindingBook, Shown, ShownSlice
from medvae.gates import Limits, contrast_kept, similarity
from medvae.records import box_overlap

__all__ = ["Judge", "Judgement", "Visible", "by_visibility", "rules"]

_FEWEST = 20
_LEAST_GAIN = 0.5
_SAME = 1 / 3
_STRANGERS = 5
"""Percent of the real slices that have a slice of another patient so near: what is nearer to a real
slice than that was most likely made of it."""

_OF_ALL = ""
"""Stands for all categories together."""


@dataclass(frozen=True)
class Visible:
    """How to tell by contrast-to-noise alone whether a place holds a lesion.

    Attributes:
        sign: 1 for lesions that are brighter than what is around them, -1 for darker ones.
        limit: least contrast-to-noise, with that sign.
        found: share of the real findings that have more.
        mistaken: share of places without a finding that have more.
    """

    sign: float
    limit: float
    found: float
    mistaken: float

    @classmethod
    def of(cls, findings: Sequence[Shown]) -> Visible | None:
        """Take the limit that tells real findings from the mirrored places best.

        Returns:
            None where the two look the same.
        """
        seen = np.array([one.visibility for one in findings if one.patch is not None])
        empty = np.array([one.elsewhere for one in findings if one.elsewhere is not None])
        if not len(seen) or not len(empty):
            return None
        sign = 1.0 if np.median(seen) >= 0 else -1.0
        limits = np.unique(sign * np.concatenate((seen, empty)))
        found = _share_above(sign * seen, limits)
        mistaken = _share_above(sign * empty, limits)
        best = int((found - mistaken).argmax())
        if found[best] - mistaken[best] < _LEAST_GAIN:
            return None
        return cls(sign, float(limits[best]), float(found[best]), float(mistaken[best]))

    def credit(self, one: Shown) -> tuple[bool, float]:
        """Say whether a finding can be seen, and what it adds to the share of those that hold one.

        Some real findings cannot be seen, and some empty places look like one. The credits of many
        findings add up to how many hold a lesion in spite of that (Rogan and Gladen 1978); that of
        a single one can lie beyond 0 and 1.
        """
        seen = self.sign * one.visibility > self.limit
        return seen, (float(seen) - self.mistaken) / (self.found - self.mistaken)


def _share_above(numbers: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.float64]:
    below: NDArray[np.float64] = np.searchsorted(np.sort(numbers), limits, "right") / len(numbers)
    return 1 - below


@dataclass(frozen=True)
class Judgement:
    """What is said of one synthetic finding.

    Attributes:
        how: ``declared``, ``nearest``, ``visibility`` or ``unjudged``.
        holds: whether it holds a lesion; None where nobody can say.
        credit: what it adds to the share of those that do.
        contrast: what is left of its contrast, 1 for all; None where there is nothing that it was.
    """

    how: str
    holds: bool | None = None
    credit: float = float("nan")
    contrast: float | None = None


class Judge:
    """Judges synthetic findings by what is known of real ones.

    Args:
        real: the real findings.
        limits: of the gates.
        nearest: the real slice beside each synthetic one, in the order in which those come.
    """

    def __init__(self, real: FindingBook, limits: Limits, nearest: Nearest | None) -> None:
        self._slices = real.slices
        self._places = {one.key: place for place, one in enumerate(real.slices)}
        self._limits = limits
        self._nearest = nearest
        strangers = np.zeros(0) if nearest is None else nearest.stranger_distance
        strangers = strangers[np.isfinite(strangers)]
        self._made_of = float(np.percentile(strangers, _STRANGERS)) if len(strangers) else 0.0
        self._visible = rules(real.slices)

    def judge(self, synthetic: Sequence[ShownSlice]) -> list[list[Judgement]]:
        """Judge the findings of all synthetic slices, in their order."""
        return [
            [self._judged(place, one, number) for number in range(len(one.findings))]
            for place, one in enumerate(synthetic)
        ]

    def _judged(self, place: int, one: ShownSlice, number: int) -> Judgement:
        finding = one.findings[number]
        if finding.patch is None:
            return Judgement("unjudged")
        origins, transplanted = self._declared(one, number)
        how = "declared"
        if not origins:
            origins, how = self._beside(place, finding), "nearest"
        compared = [self._compared(origin, finding, transplanted) for origin in origins]
        if compared:
            holds, contrast = max(compared, key=lambda pair: (pair[0], -abs(pair[1] - 1)))
            return Judgement(how, holds, float(holds), contrast)
        return by_visibility(finding, self._visible)

    def _declared(self, one: ShownSlice, number: int) -> tuple[list[Shown], bool]:
        """Return the real findings that one may come from, and whether it was transplanted.

        The findings of the slice that it is on come first, in their order.
        """
        finding = one.findings[number]
        known = [self._slices[self._places[key]] for key in one.sources if key in self._places]
        if not known:
            return [], False
        base = known[-1].findings if known[-1].key == one.sources[-1] else ()
        if number < len(base):
            origins: Iterable[Shown] = (base[number],)
        else:
            origins = (origin for slice_ in known for origin in slice_.findings)
        return _alike(origins, finding), number >= len(base)

    def _beside(self, place: int, finding: Shown) -> list[Shown]:
        """Return the finding at its place on the slice that it was most likely made of."""
        if self._nearest is None:
            return []
        if self._nearest.distance[place] >= self._made_of:
            return []
        there = self._slices[int(self._nearest.row[place])].findings
        alike = [
            one for one in _alike(there, finding) if box_overlap(one.box, finding.box) >= _SAME
        ]
        return [max(alike, key=lambda one: box_overlap(one.box, finding.box))] if alike else []

    def _compared(self, origin: Shown, finding: Shown, transplanted: bool) -> tuple[bool, float]:
        """Say whether a finding is what it was, and what is left of its contrast.

        The gate `lesion` asks the same, but for its highest contrast: too much of it is no loss.
        """
        before, after = origin.patch, finding.patch
        assert before is not None
        assert after is not None
        kept = contrast_kept(before, after, self._limits.visibility)
        known = before.turned if transplanted else before.picture
        alike = float(similarity(known, after.picture).max())
        holds = kept >= 1 / self._limits.contrast and alike >= self._limits.similarity
        return holds, kept


def by_visibility(finding: Shown, visible: Mapping[str, Visible | None]) -> Judgement:
    """Judge a finding by what can be seen alone."""
    rule = visible.get(finding.category, visible.get(_OF_ALL))
    if rule is None or finding.patch is None:
        return Judgement("unjudged")
    holds, credit = rule.credit(finding)
    return Judgement("visibility", holds, credit)


def _alike(origins: Iterable[Shown], finding: Shown) -> list[Shown]:
    return [one for one in origins if one.category == finding.category and one.patch is not None]


def rules(slices: Iterable[ShownSlice]) -> Mapping[str, Visible | None]:
    """Return how each category is told by its visibility; None where it cannot be told so.

    Under no name there is how all together are told: for categories with too few findings.
    """
    by_category: defaultdict[str, list[Shown]] = defaultdict(list)
    for one in slices:
        for finding in one.findings:
            by_category[finding.category].append(finding)
            by_category[_OF_ALL].append(finding)
    return {
        name: Visible.of(findings)
        for name, findings in by_category.items()
        if len(findings) >= _FEWEST
    }
