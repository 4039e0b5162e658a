"""Match boxes with masks from another source: each box gets the mask that lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from medvae.errors import UsageProblem
from medvae.labels._ledger import Ledger, Problem
from medvae.records import Finding, Labels, Slice, Study

__all__ = ["Outlines", "check_outlines", "join_outlines"]

_SAME = 0.5
"""Minimum IoU of a box and the bounding box of a mask that belong to the same finding."""

_SAME_CATEGORY = 1e-6
"""Bonus for an equal category, which decides between masks that overlap a box equally."""


@dataclass(frozen=True)
class Outlines:
    """Result of matching boxes with masks.

    Attributes:
        format: Format of the masks, such as ``mask pictures``.
        files: Mask files that were used.
        boxes: Number of boxes.
        masks: Number of boxes that got a mask.
    """

    format: str
    files: tuple[Path, ...]
    boxes: int
    masks: int

    def __str__(self) -> str:
        return f"{self.masks} of {self.boxes} boxes got a mask"

    def to_json(self) -> dict[str, str | int]:
        """Return the format and the counts."""
        return {"format": self.format, "boxes": self.boxes, "masks": self.masks}

    def check(self, path: Path) -> None:
        """Raise a `UsageProblem` if there are boxes but none of them got a mask."""
        if self.boxes and not self.masks:
            raise UsageProblem(f"{path}: none of its masks matches a box of the labels")


def check_outlines(labels: object, outlines: object) -> None:
    """Raise a `UsageProblem` if outlines are given without the labels that have their boxes."""
    if outlines is not None and labels is None:
        raise UsageProblem(
            "masks need the boxes that they belong to; pass labels as well", parameter="outlines"
        )


def join_outlines(
    studies: Sequence[Study], ledger: Ledger, masks_format: str, name: str
) -> tuple[tuple[Study, ...], tuple[Problem, ...], Outlines]:
    """Assign to boxes the masks that lie in them.

    Patients, categories and the slices that are known to be empty remain those of the labels.
    Boxes and masks are matched one to one, with an IoU of at least 0.5, so that the sum of the
    overlaps is largest. A matched box is replaced by the bounding box of its mask.

    Args:
        studies: Labelled studies.
        ledger: Outlines, read for the same slices without their labels.
        masks_format: Format of the outlines.
        name: Name of the outlines, for problems.

    Returns:
        The studies whose boxes got masks, the problems, and the counts.
    """
    kept = ledger.images(studies)
    problems, boxes, joined, without = list(ledger.problems), 0, 0, 0
    made: dict[Slice, Slice] = {}
    for slice_ in (slice_ for study in kept for slice_ in study.slices):
        drawn = ledger.labels(replace(slice_, labels=None)) or Labels()
        masks = [finding for finding in drawn if finding.mask is not None]
        made[slice_], found = _joined(slice_, masks)
        if unused := len(masks) - found:
            where = f"{name}, slice {slice_.source.frame} of {slice_.source.path.name}"
            what = "a mask matches" if unused == 1 else f"{unused} masks match"
            problems.append(Problem(where, f"{what} no box of the labels; ignored"))
        boxes, joined = boxes + len(slice_.labels or ()), joined + found
        without += len(drawn) - len(masks)
    if without:
        problems.append(Problem(name, f"{without} of its findings have no mask; ignored"))
    return (
        tuple(study.map(made.__getitem__) for study in kept),
        tuple(problems),
        Outlines(masks_format, tuple(ledger.files), boxes, joined),
    )


def _joined(slice_: Slice, masks: Sequence[Finding]) -> tuple[Slice, int]:
    """Return a slice with masks for the findings whose boxes match one, and their number."""
    findings = list(slice_.labels or ())
    pairs = _pairs(findings, masks)
    for row, column in pairs:
        findings[row] = replace(findings[row], mask=masks[column].mask, box=masks[column].box)
    return (replace(slice_, labels=Labels(tuple(findings))) if pairs else slice_), len(pairs)


def _pairs(boxes: Sequence[Finding], masks: Sequence[Finding]) -> list[tuple[int, int]]:
    """Return the indices of each box and mask that belong together."""
    overlaps = np.zeros((len(boxes), len(masks)))
    for row, finding in enumerate(boxes):
        for column, mask in enumerate(masks):
            overlap = finding.box.iou(mask.box)
            if overlap >= _SAME:
                same = finding.category.name == mask.category.name
                overlaps[row, column] = overlap + _SAME_CATEGORY * same
    found = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in found if overlaps[row, column]]
