"""Tracing of lesions through the slices of a series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvae.records import Finding, Labels
from medvae.render._ground import region

__all__ = ["trace_lesions"]


def trace_lesions(labels: Sequence[Labels | None]) -> list[dict[int, tuple[int, ...]]]:
    """Trace lesions through a series: findings that overlap on neighbouring slices are one lesion.

    Args:
        labels: Labels of the slices, in order; None for a slice that has not been labelled.

    Returns:
        For each lesion, in the order in which they begin, the slices that show it and the indices
        of its findings there.
    """
    lesion_of: dict[tuple[int, int], int] = {}
    for number, known in enumerate(labels):
        for index, finding in enumerate(known or ()):
            before = labels[number - 1] if number else None
            touched = {
                lesion_of[number - 1, other]
                for other, earlier in enumerate(before or ())
                if _overlap(finding, earlier)
            }
            lesion_of[number, index] = min(touched, default=len(lesion_of))
            for place, lesion in lesion_of.items():
                if lesion in touched:
                    lesion_of[place] = lesion_of[number, index]
    traced: dict[int, dict[int, tuple[int, ...]]] = {}
    for (number, index), lesion in lesion_of.items():
        shown = traced.setdefault(lesion, {})
        shown[number] = (*shown.get(number, ()), index)
    return [traced[lesion] for lesion in sorted(traced)]


def _overlap(one: Finding, other: Finding) -> bool:
    if one.category != other.category:
        return False
    boxes = np.array([one.box, other.box])
    x0, y0 = np.floor(boxes[:, :2].max(axis=0)).astype(int)
    x1, y1 = np.ceil(boxes[:, 2:].min(axis=0)).astype(int)
    if x0 >= x1 or y0 >= y1:
        return False
    common = (slice(y0, y1), slice(x0, x1))
    return bool((region(one, common) & region(other, common)).any())
