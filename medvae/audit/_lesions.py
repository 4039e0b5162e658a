"""Labels: whether synthetic findings still hold a lesion, and whether boxes are like real ones."""

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
    """What is said of one category.

    Attributes:
        real, synthetic: how many findings there are.
        survival: share of synthetic findings that still hold a lesion; None where none can be
            judged.
        contrast: median of what is left of the contrast, 1 for all; None where no finding can be
            compared with the one that it was.
        contrast_low: its 5th percentile.
        measures: ``width``, ``height`` (shares of the canvas), ``x``, ``y`` (of the centre) and
            ``contrast-to-noise``; empty where one of the sets has none of this category.
    """

    real: int
    synthetic: int
    survival: Estimate | None
    contrast: Estimate | None
    contrast_low: Estimate | None
    measures: Mapping[str, BoxMeasure]


@dataclass(frozen=True, eq=False)
class LabelReport:
    """What is said of the labels of the synthetic set.

    Attributes:
        survival, contrast, contrast_low: over all categories, as in `CategoryLabels`.
        judged: how many findings were judged by the finding that their source has there
            (``declared``), by that of the nearest slice (``nearest``), and by what can be seen
            (``visibility``). The others are ``unjudged``: there is too little around them, or even
            real findings of their category do not stand out.
        categories: by name, sorted.
        lost: keys of slices with a finding that is gone: those with least of the contrast that it
            had first, and last those that nobody can see, among which there are as many as nobody
            can see on real slices either.
        limits: of the gates, as real slices have them.
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

    A synthetic finding is compared with the one that its declared source has. Where it declares
    none, or one that is not among the real slices, it is compared with the one that the nearest
    real slice has at its place, if that slice is so near that the synthetic one was most likely
    made of it. Else all that can be asked is whether the place looks like real findings or like the
    mirrored places on their slices. The baseline of the survival is that of real findings, asked in
    the same way by what findings of other patients look like.

    Args:
        real, synthetic: their findings.
        nearest: of each synthetic slice, in the order in which they were added, in the space
            ``pixels``; None where findings are judged by what can be seen alone.
        seed: of the bootstrap.

    Raises:
        ValueError: there are no real slices.
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
    """A synthetic finding, its patients, and what is said of it."""

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
    """Return survival, and the median and the 5th percentile of what is left of the contrast."""
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
    """Judge real findings by what those of other patients look like; under None all of them.

    What can be seen is all that they are judged by.
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
    """Return keys of slices with a finding that holds no lesion, the surest first."""
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
