"""Lesion survival: whether synthetic findings still contain a lesion."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from medvae.auditing._decoded import DecodedSet
from medvae.auditing._figures import clouds
from medvae.auditing._findings import SetFindings
from medvae.auditing._lesion_evidence import (
    JudgedFinding,
    LesionJudge,
    by_visibility,
    visibility_rules,
)
from medvae.auditing._page import is_measured, percentage, short_key, slice_picture
from medvae.auditing._patients import halve, percentile, share
from medvae.auditing._statistic import AuditSettings, ComparedSets, Estimate
from medvae.auditing.copies import NearestReal, nearest_real
from medvae.pages import part

__all__ = ["Survival", "as_json", "lesion_survival", "measure", "section", "sentences"]

_SPLITS = 5
_SHOWN = 12

_HOW = ("declared", "nearest", "visibility", "unjudged")


@dataclass(frozen=True, eq=False)
class Survival:
    """Survival of the findings of a set.

    Attributes:
        survival: Share of the findings that still contain a lesion; None if none can be judged.
        contrast, contrast_low: Median and 5th percentile of the fraction of the contrast that
            findings keep; None if no finding can be compared with its original.
        judged: Number of findings judged by the finding of their source (``declared``), by that of
            the nearest real slice (``nearest``), and by visibility alone (``visibility``). The
            others are ``unjudged``: they have too few surroundings, or even real findings of their
            category do not stand out.
        categories: The survival by the name of the category, sorted.
        lost: Keys of slices with a lost finding, those that keep the least contrast first. Findings
            judged by visibility alone come last; some of them are only as hard to see as some real
            findings are.
    """

    survival: Estimate | None
    contrast: Estimate | None
    contrast_low: Estimate | None
    judged: Mapping[str, int]
    categories: Mapping[str, Estimate | None]
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
    found = [*LesionJudge(real, nearest).judge(synthetic.slices)]
    how = Counter(verdict.how for _, _, verdict in found)
    known = [(f.category, v.credit, one.groups) for one, f, v in found if v.holds is not None]
    kept = [(v.contrast, one.groups) for one, _, v in found if v.contrast is not None]
    real_credits = list(_real_credits(real, seed))

    def survival(categories: Sequence[str]) -> Estimate | None:
        credits = [(credit, groups) for name, credit, groups in known if name in categories]
        others = [credit for name, credit in real_credits if name in categories]
        baseline = float(np.clip(np.mean(others), 0, 1)) if others else None
        marks = np.array([credit for credit, _ in credits])
        return share(marks, [groups for _, groups in credits], seed, baseline) if credits else None

    def contrast(percent: float) -> Estimate | None:
        numbers = np.array([number for number, _ in kept])
        return percentile(numbers, [groups for _, groups in kept], percent, seed) if kept else None

    categories = sorted(real.categories | synthetic.categories)
    return Survival(
        survival=survival(categories),
        contrast=contrast(50),
        contrast_low=contrast(5),
        judged={name: how[name] for name in _HOW},
        categories={name: survival([name]) for name in categories},
        lost=_lost(found),
    )


def _real_credits(real: SetFindings, seed: int) -> Iterator[tuple[str, float]]:
    """Yield category and credit of real findings, judged by rules from those of other patients."""
    groups = [one.groups for one in real.slices]
    for split in range(_SPLITS):
        halves = halve(groups, (), seed, "survival", split).real
        for known, judged in (halves, halves[::-1]):
            rules = visibility_rules(real.slices[row] for row in known)
            for finding in (one for row in judged for one in real.slices[row].findings):
                verdict = by_visibility(finding, rules)
                if verdict.holds is not None:
                    yield finding.category, verdict.credit


def _lost(found: Iterable[JudgedFinding]) -> list[str]:
    """Return keys of slices with a finding that contains no lesion, the most certain first."""
    worst: dict[str, float] = {}
    for one, _, verdict in found:
        if verdict.holds is False:
            contrast = math.inf if verdict.contrast is None else verdict.contrast
            worst[one.key] = min(contrast, worst.get(one.key, math.inf))
    return sorted(worst, key=lambda key: (worst[key], key))


def measure(sets: ComparedSets, settings: AuditSettings) -> Survival | None:
    """Judge the findings; return None if the set has none."""
    if not len(sets.synthetic.findings):
        return None
    real = sets.real

    def judged(other: DecodedSet) -> Survival:
        outlines = real.pool.outlines, other.pool.outlines
        nearest = nearest_real(outlines, real.pool, other.pool)
        return lesion_survival(real.findings, other.findings, nearest, settings.seed)

    return sets.compare(judged)


def as_json(result: Survival) -> dict[str, Any]:
    """Return the survival, in all and by category, and the slices with lost findings."""
    unknown = Estimate(math.nan, math.nan, math.nan)
    return {
        **vars(result.survival or unknown),
        "contrast": result.contrast,
        "contrast_low": result.contrast_low,
        "judged": result.judged,
        "categories": result.categories,
        "lost": result.lost,
    }


def sentences(found: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield how many findings are left, and how much of their contrast."""
    if found is None or not is_measured(found):
        yield "Whether its findings still contain a lesion could not be measured."
        return
    yield f"{percentage(found)} of its labelled findings are still there."
    if is_measured(found.get("contrast")):
        yield f"They keep {percentage(found['contrast'])} of their contrast."


def section(result: Survival, sets: ComparedSets) -> Iterator[Markup]:
    """Yield how findings were judged, the lost ones, and the boxes of each category."""
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
        yield part("gallery", "pairs", [*_lost_findings(result.lost, sets)])
    boxes = [*_boxes(sets)]
    if boxes:
        yield part("heading", "Sizes and positions of the boxes")
        yield part("gallery", "figures", boxes)


def _boxes(sets: ComparedSets) -> Iterator[Markup]:
    """Draw the sizes and the centres of the boxes of each category that both sets have."""
    sides = {"real": sets.real.findings, "synthetic": sets.synthetic.findings}
    for category in sorted(set.intersection(*(one.categories for one in sides.values()))):
        boxes = {name: one.boxes(category) for name, one in sides.items()}
        sizes = {name: of[:, 2:] - of[:, :2] for name, of in boxes.items()}
        centres = {
            name: (of[:, 2:] + of[:, :2]) * (0.5, -0.5) + (0, 1) for name, of in boxes.items()
        }
        for points, x, y in (
            (sizes, "width, as a share of the canvas", "height"),
            (centres, "centre, left to right", "centre, bottom to top"),
        ):
            alternative = f"Real and synthetic boxes, {category}: {x}, and {y}"
            yield part("drawing", clouds(points, x, y).uri, alternative, category)


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
