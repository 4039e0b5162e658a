"""Whether a synthetic finding still contains a lesion, by the best available evidence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvae.auditing._findings import MeasuredFinding, SetFindings, SliceFindings
from medvae.auditing.copies import NearestReal
from medvae.gates import contrast_kept, similarity

_FEWEST = 20
_LEAST_GAIN = 0.5
_SAME = 1 / 3
_OTHER_PATIENTS = 5
"""Percentile of the distances from real slices to those of other patients; a synthetic slice that
is nearer than that to a real slice was most likely made from it."""

_OF_ALL = ""
"""Key for all categories together."""


@dataclass(frozen=True)
class VisibilityRule:
    """A rule that tells by the contrast-to-noise ratio alone whether a place contains a lesion.

    Attributes:
        sign: 1 for lesions that are brighter than their surroundings, -1 for darker ones.
        limit: Smallest contrast-to-noise ratio, multiplied by that sign.
        found: Share of real findings above the limit.
        mistaken: Share of places without a finding above the limit.
    """

    sign: float
    limit: float
    found: float
    mistaken: float

    @classmethod
    def of(cls, findings: Sequence[MeasuredFinding]) -> VisibilityRule | None:
        """Return the rule with the limit that best separates real findings from mirrored places.

        Returns:
            The rule, or None if the two look the same.
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

    def credit(self, one: MeasuredFinding) -> tuple[bool, float]:
        """Return whether a finding is visible, and its contribution to the share with a lesion.

        Some real findings are not visible, and some empty places look like one. The credits correct
        for this (Rogan and Gladen 1978): their sum estimates the number of findings with a lesion,
        but a single credit can lie outside [0, 1].
        """
        seen = self.sign * one.visibility > self.limit
        return seen, (float(seen) - self.mistaken) / (self.found - self.mistaken)


def _share_above(numbers: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.float64]:
    below: NDArray[np.float64] = np.searchsorted(np.sort(numbers), limits, "right") / len(numbers)
    return 1 - below


@dataclass(frozen=True)
class Judgement:
    """The judgement of one synthetic finding.

    Attributes:
        how: One of ``declared``, ``nearest``, ``visibility`` and ``unjudged``.
        holds: Whether it contains a lesion; None if this cannot be judged.
        credit: Its contribution to the share of findings with a lesion.
        contrast: Fraction of its contrast that is kept; None without an original finding.
    """

    how: str
    holds: bool | None = None
    credit: float = float("nan")
    contrast: float | None = None


JudgedFinding = tuple[SliceFindings, MeasuredFinding, Judgement]
"""A finding with its slice and its judgement."""


class LesionJudge:
    """Judges synthetic findings by real ones.

    Args:
        real: The real findings.
        nearest: Nearest real slice of each synthetic one, in the order of the synthetic slices.

    Raises:
        ValueError: If there are no real slices.
    """

    def __init__(self, real: SetFindings, nearest: NearestReal | None) -> None:
        self._slices = real.slices
        self._places = {one.key: place for place, one in enumerate(real.slices)}
        self._limits = real.limits()
        self._nearest = nearest
        distances = np.zeros(0) if nearest is None else nearest.other_patient_distance
        distances = distances[np.isfinite(distances)]
        self._limit = float(np.percentile(distances, _OTHER_PATIENTS)) if len(distances) else 0.0
        self._rules = visibility_rules(real.slices)

    def judge(self, synthetic: Iterable[SliceFindings]) -> Iterator[JudgedFinding]:
        """Judge the findings of all synthetic slices, in order."""
        for place, one in enumerate(synthetic):
            for number, finding in enumerate(one.findings):
                yield one, finding, self._judged(place, one, number)

    def _judged(self, place: int, one: SliceFindings, number: int) -> Judgement:
        finding = one.findings[number]
        if finding.patch is None:
            return Judgement("unjudged")
        origins, transplanted = self._declared(one, number)
        how = "declared"
        if not origins:
            origins, how = self._on_nearest(place, finding), "nearest"
        compared = [self._compared(origin, finding, transplanted) for origin in origins]
        if compared:
            holds, contrast = max(compared, key=lambda pair: (pair[0], -abs(pair[1] - 1)))
            return Judgement(how, holds, float(holds), contrast)
        return by_visibility(finding, self._rules)

    def _declared(self, one: SliceFindings, number: int) -> tuple[list[MeasuredFinding], bool]:
        """Return the possible real origins of a finding, and whether it was transplanted.

        On a synthetic slice, the findings of the host come first, in order.
        """
        finding = one.findings[number]
        known = [self._slices[self._places[key]] for key in one.sources if key in self._places]
        if not known:
            return [], False
        of_host = known[-1].findings if known[-1].key == one.sources[-1] else ()
        if number < len(of_host):
            origins: Iterable[MeasuredFinding] = (of_host[number],)
        else:
            origins = (origin for slice_ in known for origin in slice_.findings)
        return _alike(origins, finding), number >= len(of_host)

    def _on_nearest(self, place: int, finding: MeasuredFinding) -> list[MeasuredFinding]:
        """Return the finding at the same place on the real slice it was most likely made from."""
        if self._nearest is None or self._nearest.distance[place] >= self._limit:
            return []
        candidates = self._slices[int(self._nearest.row[place])].findings
        same_place = [
            one for one in _alike(candidates, finding) if one.box.iou(finding.box) >= _SAME
        ]
        return sorted(same_place, key=lambda one: -one.box.iou(finding.box))[:1]

    def _compared(
        self, origin: MeasuredFinding, finding: MeasuredFinding, transplanted: bool
    ) -> tuple[bool, float]:
        """Return whether a finding matches its origin, and the fraction of its contrast kept.

        The gate `lesion` checks the same, but also limits a gain in contrast, which is no loss.
        """
        before, after = origin.patch, finding.patch
        assert before is not None
        assert after is not None
        kept = contrast_kept(before, after, self._limits["visibility"])
        known = before.turned if transplanted else before.picture
        alike = float(similarity(known, after.picture).max())
        holds = kept >= 1 / self._limits["contrast"] and alike >= self._limits["similarity"]
        return holds, kept


def by_visibility(
    finding: MeasuredFinding, rules: Mapping[str, VisibilityRule | None]
) -> Judgement:
    """Judge a finding by its visibility alone."""
    rule = rules.get(finding.category, rules.get(_OF_ALL))
    if rule is None or finding.patch is None:
        return Judgement("unjudged")
    holds, credit = rule.credit(finding)
    return Judgement("visibility", holds, credit)


def _alike(origins: Iterable[MeasuredFinding], finding: MeasuredFinding) -> list[MeasuredFinding]:
    return [one for one in origins if one.category == finding.category and one.patch is not None]


def visibility_rules(slices: Iterable[SliceFindings]) -> Mapping[str, VisibilityRule | None]:
    """Return the visibility rule of each category; None if visibility does not separate it.

    The rule for all categories together, under an empty name, serves those with few findings.
    """
    by_category: defaultdict[str, list[MeasuredFinding]] = defaultdict(list)
    for one in slices:
        for finding in one.findings:
            by_category[finding.category].append(finding)
            by_category[_OF_ALL].append(finding)
    return {
        name: VisibilityRule.of(findings)
        for name, findings in by_category.items()
        if len(findings) >= _FEWEST
    }
