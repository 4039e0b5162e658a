"""Lesion survival: whether synthetic findings still contain a lesion."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup

from medvae.auditing._decoded import DecodedSet
from medvae.auditing._findings import SetFindings, SliceFindings
from medvae.auditing._lesion_evidence import Judgement, LesionJudge, by_visibility, visibility_rules
from medvae.auditing._page import Report, figures, is_measured, percentage, short_key, slice_picture
from medvae.auditing._patients import Estimate, halve, percentile, share
from medvae.auditing._statistic import AuditSettings, ComparedSets, Rule, Statistic
from medvae.auditing.copies import NearestReal, nearest_real
from medvae.pages import part

__all__ = ["LesionSurvival", "Survival", "lesion_survival"]

_SPLITS = 5
_SHOWN = 12

_HOW = ("declared", "nearest", "visibility", "unjudged")


Shares = Mapping[str, Estimate | None]
"""The share of findings that still contain a lesion (``survival``), and the median and the 5th
percentile of the fraction of the contrast that findings keep (``contrast`` and ``contrast_low``).
None if no finding can be judged, or none can be compared with its original."""


@dataclass(frozen=True, eq=False)
class Survival:
    """Survival of the findings of a set.

    Attributes:
        total: Shares over all categories.
        judged: Number of findings judged by the finding of their source (``declared``), by that of
            the nearest real slice (``nearest``), and by visibility alone (``visibility``). The
            others are ``unjudged``: they have too few surroundings, or even real findings of their
            category do not stand out.
        categories: Shares by the name of the category, sorted.
        lost: Keys of slices with a lost finding, those that keep the least contrast first. Findings
            judged by visibility alone come last; some of them are only as hard to see as some real
            findings are.
    """

    total: Shares
    judged: Mapping[str, int]
    categories: Mapping[str, Shares]
    lost: Sequence[str]


def lesion_survival(
    real: SetFindings, synthetic: SetFindings, nearest: NearestReal | None, seed: int
) -> Survival:
    """Judge the findings of a synthetic set.

    A synthetic finding is compared with that of its declared source. If no source is declared, or
    none is among the real slices, it is compared with the finding at the same place on the nearest
    real slice, provided that slice is so near that the synthetic one was most likely made from it.
    Otherwise it is judged by whether it looks like real findings or like the mirrored places on
    their slices. The baseline of the survival is that of real findings, judged in this last way by
    the findings of other patients.

    Args:
        real, synthetic: Findings of either set.
        nearest: Nearest real slices by their outlines, in the order in which the synthetic slices
            were added; None to do without them.
        seed: Random seed for the bootstrap and the baseline splits.

    Raises:
        ValueError: If there are no real slices.
    """
    judged = LesionJudge(real, nearest).judge(synthetic.slices)
    baselines = _real_survival(real, seed)
    groups: defaultdict[str | None, list[tuple[str, ...]]] = defaultdict(list)
    judgements: defaultdict[str | None, list[Judgement]] = defaultdict(list)
    for slice_, verdicts in zip(synthetic.slices, judged, strict=True):
        for finding, verdict in zip(slice_.findings, verdicts, strict=True):
            for name in (None, finding.category):
                groups[name].append(slice_.groups)
                judgements[name].append(verdict)

    def shares(name: str | None) -> Shares:
        return _shares(judgements[name], groups[name], baselines.get(name), seed)

    how = Counter(one.how for one in judgements[None])
    return Survival(
        total=shares(None),
        judged={name: how[name] for name in _HOW},
        categories={n: shares(n) for n in sorted(real.categories | synthetic.categories)},
        lost=_lost(synthetic.slices, judged),
    )


def _shares(
    judgements: Sequence[Judgement],
    groups: Sequence[tuple[str, ...]],
    baseline: float | None,
    seed: int,
) -> Shares:
    known = [n for n, one in enumerate(judgements) if one.holds is not None]
    kept = [n for n in known if judgements[n].contrast is not None]
    survival = contrast = contrast_low = None
    if known:
        credits = np.array([judgements[n].credit for n in known])
        survival = share(credits, [groups[n] for n in known], seed, baseline)
    if kept:
        numbers = np.array([judgements[n].contrast for n in kept], np.float64)
        owners = [groups[n] for n in kept]
        contrast = percentile(numbers, owners, 50, seed)
        contrast_low = percentile(numbers, owners, 5, seed)
    return {"survival": survival, "contrast": contrast, "contrast_low": contrast_low}


def _real_survival(real: SetFindings, seed: int) -> Mapping[str | None, float]:
    """Return the survival of real findings by category, and of all of them under None.

    They are judged by visibility alone, by rules from the findings of other patients.
    """
    credits: defaultdict[str | None, list[float]] = defaultdict(list)
    groups = [one.groups for one in real.slices]
    for split in range(_SPLITS):
        halves = halve(groups, (), seed, "survival", split).real
        for known, judged in (halves, halves[::-1]):
            rules = visibility_rules(real.slices[row] for row in known)
            for finding in (one for row in judged for one in real.slices[row].findings):
                verdict = by_visibility(finding, rules)
                if verdict.holds is not None:
                    credits[finding.category].append(verdict.credit)
                    credits[None].append(verdict.credit)
    return {name: float(np.clip(np.mean(found), 0, 1)) for name, found in credits.items()}


def _lost(slices: Sequence[SliceFindings], judged: Sequence[Sequence[Judgement]]) -> list[str]:
    """Return keys of slices with a finding that contains no lesion, the most certain first."""
    worst = {}
    for one, verdicts in zip(slices, judged, strict=True):
        gone = [
            math.inf if verdict.contrast is None else verdict.contrast
            for verdict in verdicts
            if verdict.holds is False
        ]
        if gone:
            worst[one.key] = min(gone)
    return sorted(worst, key=lambda key: (worst[key], key))


@dataclass(frozen=True)
class _SurvivalRule(Rule):
    """Rule that also advises on slices whose sources are unknown."""

    def changes(self, mark: str | None, augmentation: Mapping[str, Any] | None) -> Iterator[str]:
        yield from super().changes(mark, augmentation)
        if augmentation is None and mark != "green":
            yield (
                "The sources of these slices are unknown. For slices of 'medvae augment', give its "
                "output folder, whose manifest names them; for others, give the labels of the "
                "synthetic slices."
            )


class LesionSurvival(Statistic[Survival]):
    """Share of the labelled findings of the synthetic set that still contain a lesion."""

    name = "lesion_survival"
    title = "Do findings still contain a lesion?"
    explanation = (
        "A finding survives if its box still has the contrast, the visibility and the structure "
        "that the same finding keeps from one real slice to the next. The contrast that is kept is "
        "given as a fraction of that of the source. Where no source is known, what is visible at "
        "the place is compared with real findings, and with places without a finding."
    )
    numbers: ClassVar[Mapping[str, str]] = {
        "": "Findings that still contain a lesion",
        "contrast": "Contrast that findings keep, median",
        "contrast_low": "Contrast that findings keep, 5th percentile",
        "categories.*.survival": "Findings that still contain a lesion",
        "categories.*.contrast": "Contrast that findings keep, median",
        "categories.*.contrast_low": "Contrast that findings keep, 5th percentile",
    }
    rules = (
        _SurvivalRule(
            name="Lesion survival",
            question="Which share of the labelled findings is still there?",
            green=0.95,
            amber=0.80,
            high_is_good=True,
            decisive=True,
            advice=(
                "Findings were lost. Lower the strength of the augmentation, look at the lost "
                "findings below, and take their slices out of the training set.",
                "Findings were lost. Render with transplant or warp, which keep the real pixels of "
                "a lesion, instead of decode.",
            ),
        ),
    )

    def measure(self, sets: ComparedSets, settings: AuditSettings) -> Survival | None:
        """Judge the findings; return None if the set has none."""
        if not len(sets.synthetic.findings):
            return None
        real = sets.real

        def judged(other: DecodedSet) -> Survival:
            outlines = real.pool.outlines, other.pool.outlines
            nearest = nearest_real(outlines, real.pool, other.pool)
            return lesion_survival(real.findings, other.findings, nearest, settings.seed)

        return sets.compare(judged)

    def as_json(self, result: Survival) -> Any:
        """Return the survival, in all and by category, and the slices with lost findings."""
        unknown = Estimate(math.nan, math.nan, math.nan)
        return {
            **(result.total["survival"] or unknown).as_json(),
            "contrast": result.total["contrast"],
            "contrast_low": result.total["contrast_low"],
            "judged": result.judged,
            "categories": result.categories,
            "lost": result.lost,
        }

    def sentences(self, found: Mapping[str, Any] | None) -> Iterator[str]:
        """Yield how many findings are left, and how much of their contrast."""
        if found is None or not is_measured(found):
            yield "Whether its findings still contain a lesion could not be measured."
            return
        yield f"{percentage(found)} of its labelled findings are still there."
        if is_measured(found.get("contrast")):
            yield f"They keep {percentage(found['contrast'])} of their contrast."

    def section(self, result: Survival, report: Report, sets: ComparedSets) -> Iterator[Markup]:
        """Yield the table, how findings were judged, and the lost findings."""
        yield from super().section(result, report, sets)
        judged = result.judged
        yield part(
            "paragraph",
            f"Findings compared with that of the declared source: {judged['declared']}; with that "
            f"of the nearest real slice: {judged['nearest']}; judged by visibility alone: "
            f"{judged['visibility']}; not judged, because there is too little around them or "
            f"because real findings do not stand out either: {judged['unjudged']}.",
        )
        if result.lost:
            yield part("heading", "Lost findings")
            yield figures(_lost_findings(result.lost, sets), "pairs")


def _lost_findings(keys: Sequence[str], sets: ComparedSets) -> Iterator[Markup]:
    """Show slices with a lost finding, worst first, next to their source slices."""
    real, synthetic = sets.real, sets.synthetic
    rows = {one.native.key: row for row, one in enumerate(synthetic.set.slices)}
    sources = {one.native.key: row for row, one in enumerate(real.set.slices)}
    for row in [rows[key] for key in keys if key in rows][:_SHOWN]:
        pictures = [slice_picture(synthetic, row, "Synthetic")]
        first = next(iter(synthetic.set.slices[row].sources or ()), None)
        if first in sources:
            pictures.append(slice_picture(real, sources[first], "Source"))
        yield part("strip", pictures, short_key(synthetic, row))
