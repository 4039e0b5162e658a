"""Labels: whether synthetic findings still contain a lesion, and how boxes compare to real ones."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from medvae.audit._boxes import BoxMeasure, compared, measured
from medvae.audit._copies import Nearest
from medvae.audit._estimate import Estimate
from medvae.audit._findings import FindingBook, ShownSlice
from medvae.audit._patients import halve, percentile, share
from medvae.audit._survival import Judge, Judgement, by_visibility, rules
from medvae.gates import Limits

__all__ = ["BoxMeasure", "CategoryLabels", "FindingBook", "LabelReport", "compare_labels"]

_SPLITS = 5


@dataclass(frozen=True, eq=False)
class CategoryLabels:
    """Results for the labels of one category.

    Attributes:
        real, synthetic: Number of findings in either set.
        survival: Share of synthetic findings that still contain a lesion; None if none can be
            judged.
        contrast: Median fraction of the contrast that is kept; None if no finding can be compared
            with its original.
        contrast_low: The 5th percentile of the same fraction.
        measures: Comparisons of ``width``, ``height`` (shares of the canvas), ``x``, ``y`` (of the
            centre) and ``contrast-to-noise``; empty if either set lacks this category.
    """

    real: int
    synthetic: int
    survival: Estimate | None
    contrast: Estimate | None
    contrast_low: Estimate | None
    measures: Mapping[str, BoxMeasure]


@dataclass(frozen=True, eq=False)
class LabelReport:
    """Results for the labels of the synthetic set.

    Attributes:
        survival, contrast, contrast_low: As in `CategoryLabels`, over all categories.
        judged: Number of findings judged by the finding of their source (``declared``), by that of
            the nearest real slice (``nearest``), and by visibility alone (``visibility``). The
            others are ``unjudged``: they have too few surroundings, or even real findings of their
            category do not stand out.
        categories: Results by the name of the category, sorted.
        lost: Keys of slices with a lost finding, those that keep the least contrast first. Findings
            judged by visibility alone come last; some of them are only as hard to see as some real
            findings are.
        limits: Limits of the gates, taken from the real slices.
    """

    survival: Estimate | None
    contrast: Estimate | None
    contrast_low: Estimate | None
    judged: Mapping[str, int]
    categories: Mapping[str, CategoryLabels]
    lost: Sequence[str]
    limits: Limits


def compare_labels(
    real: FindingBook, synthetic: FindingBook, nearest: Nearest | None, seed: int
) -> LabelReport:
    """Compare the findings of the two sets.

    A synthetic finding is compared with that of its declared source. If no source is declared, or
    none is among the real slices, it is compared with the finding at the same place on the nearest
    real slice, provided that slice is so near that the synthetic one was most likely made from it.
    Otherwise it is judged by whether it looks like real findings or like the mirrored places on
    their slices. The baseline of the survival is that of real findings, judged in this last way by
    the findings of other patients.

    Args:
        real, synthetic: Findings of either set.
        nearest: Nearest real slices in the space ``pixels``, in the order in which the synthetic
            slices were added; None to do without the nearest slice.
        seed: Random seed for the bootstrap and the baseline splits.

    Raises:
        ValueError: If there are no real slices.
    """
    limits = real.limits()
    judged = Judge(real, limits, nearest).judge(synthetic.slices)
    findings = [
        _Judged(one.category, slice_.groups, verdict)
        for slice_, verdicts in zip(synthetic.slices, judged, strict=True)
        for one, verdict in zip(slice_.findings, verdicts, strict=True)
    ]
    baseline = _real_survival(real, seed)
    names = {one.category for book in (real, synthetic) for s in book.slices for one in s.findings}
    survival, contrast, contrast_low = _summary(findings, baseline.get(None), seed)
    how = Counter(one.verdict.how for one in findings)
    return LabelReport(
        survival=survival,
        contrast=contrast,
        contrast_low=contrast_low,
        judged={name: how[name] for name in ("declared", "nearest", "visibility", "unjudged")},
        categories={
            name: _category(name, real, synthetic, findings, baseline.get(name), seed)
            for name in sorted(names)
        },
        lost=_lost(synthetic.slices, judged),
        limits=limits,
    )


class _Judged(NamedTuple):
    """A synthetic finding with its patients and its judgement."""

    category: str
    groups: tuple[str, ...]
    verdict: Judgement


def _category(
    name: str,
    real: FindingBook,
    synthetic: FindingBook,
    findings: Sequence[_Judged],
    baseline: float | None,
    seed: int,
) -> CategoryLabels:
    own = [one for one in findings if one.category == name]
    survival, contrast, contrast_low = _summary(own, baseline, seed)
    here, there = (measured(book.slices, name) for book in (real, synthetic))
    return CategoryLabels(
        real=len(here.groups),
        synthetic=len(there.groups),
        survival=survival,
        contrast=contrast,
        contrast_low=contrast_low,
        measures=compared(here, there, seed),
    )


def _summary(
    findings: Sequence[_Judged], baseline: float | None, seed: int
) -> tuple[Estimate | None, Estimate | None, Estimate | None]:
    """Return the survival, and the median and 5th percentile of the contrast that is kept."""
    known = [one for one in findings if one.verdict.holds is not None]
    kept = [one for one in known if one.verdict.contrast is not None]
    survival = contrast = contrast_low = None
    if known:
        marks = np.array([one.verdict.credit for one in known])
        survival = share(marks, [one.groups for one in known], seed, baseline)
    if kept:
        numbers = np.array([one.verdict.contrast for one in kept], np.float64)
        groups = [one.groups for one in kept]
        contrast = percentile(numbers, groups, 50, seed)
        contrast_low = percentile(numbers, groups, 5, seed)
    return survival, contrast, contrast_low


def _real_survival(real: FindingBook, seed: int) -> Mapping[str | None, float]:
    """Return the survival of real findings by category, and of all of them under None.

    They are judged by visibility alone, by rules from the findings of other patients.
    """
    marks: defaultdict[str | None, list[float]] = defaultdict(list)
    groups = [one.groups for one in real.slices]
    for split in range(_SPLITS):
        halves = halve(groups, (), seed, "survival", split).real
        for known, asked in (halves, halves[::-1]):
            visible = rules(real.slices[row] for row in known)
            for finding in (one for row in asked for one in real.slices[row].findings):
                verdict = by_visibility(finding, visible)
                if verdict.holds is not None:
                    marks[finding.category].append(verdict.credit)
                    marks[None].append(verdict.credit)
    return {name: float(np.clip(np.mean(found), 0, 1)) for name, found in marks.items()}


def _lost(slices: Sequence[ShownSlice], judged: Sequence[Sequence[Judgement]]) -> list[str]:
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
