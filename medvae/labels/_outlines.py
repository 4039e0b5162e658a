"""Match boxes with masks from another source: each box gets the mask that lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from medvae.errors import UsageProblem
from medvae.labels._ledger import Ledger
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
) -> tuple[tuple[Study, ...], Outlines]:
    """Assign to boxes the masks that lie in them; return the studies, and the counts.

    Patients, categories and the slices that are known to be empty remain those of the labels.
    Boxes and masks are matched one to one, with an IoU of at least 0.5, so that the sum of the
    overlaps is largest. A matched box is replaced by the bounding box of its mask.

    Args:
        studies: Labelled studies.
        ledger: Outlines, read for the same slices without their labels; gets the problems.
        masks_format: Format of the outlines.
        name: Name of the outlines, for problems.
    """
    boxes = joined = without = 0

    def join(slice_: Slice) -> Slice:
        nonlocal boxes, joined, without
        drawn = ledger.labels(replace(slice_, labels=None)) or ()
        masks = [finding for finding in drawn if finding.mask is not None]
        findings = list(slice_.labels or ())
        pairs = _pairs(findings, masks)
        for row, column in pairs:
            findings[row] = replace(findings[row], mask=masks[column].mask, box=masks[column].box)
        if unused := len(masks) - len(pairs):
            where = f"{name}, slice {slice_.source.frame} of {slice_.source.path.name}"
            what = "a mask matches" if unused == 1 else f"{unused} masks match"
            ledger.problem(where, f"{what} no box of the labels; ignored")
        boxes, joined = boxes + len(findings), joined + len(pairs)
        without += len(drawn) - len(masks)
        return replace(slice_, labels=Labels(tuple(findings))) if pairs else slice_

    made = tuple(study.map(join) for study in ledger.images(studies))
    if without:
        ledger.problem(name, f"{without} of its findings have no mask; ignored")
    return made, Outlines(masks_format, tuple(ledger.files), boxes, joined)


def _pairs(boxes: Sequence[Finding], masks: Sequence[Finding]) -> list[tuple[int, int]]:
    """Return the indices of each box and mask that belong together."""
    overlaps = np.zeros((len(boxes), len(masks)))
    for (row, finding), (column, mask) in product(enumerate(boxes), enumerate(masks)):
        overlap = finding.box.iou(mask.box)
        if overlap >= _SAME:
            same = finding.category.name == mask.category.name
            overlaps[row, column] = overlap + _SAME_CATEGORY * same
    found = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in found if overlaps[row, column]]
