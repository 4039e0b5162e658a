"""A finding as plain JSON, for records that must hold all of it: boxes, masks and category."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvae.labels._rle import decode, encode
from medvae.records import Category, Finding, Mask

__all__ = ["finding_from_record", "finding_record"]


def finding_record(finding: Finding, shape: tuple[int, int]) -> dict[str, Any]:
    """Return a finding on a slice of this shape as JSON; its box is ``[x0, y0, x1, y1]``."""
    record: dict[str, Any] = {
        "category": finding.category.name,
        "supercategory": finding.category.supercategory,
        "box": list(finding.box),
    }
    if finding.mask is not None:
        record["mask"] = encode(finding.mask, shape)
    return record


def finding_from_record(record: Mapping[str, Any], shape: tuple[int, int]) -> Finding:
    """Return the finding that :func:`finding_record` wrote."""
    x0, y0, x1, y1 = record["box"]
    mask = Mask.of(decode(record["mask"], shape)) if "mask" in record else None
    return Finding(Category(record["category"], record["supercategory"]), (x0, y0, x1, y1), mask)
