"""Findings as plain JSON, with masks as COCO segmentations: polygons, or runs along columns."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from medvae.errors import ReadError
from medvae.geometry import Box
from medvae.labels._match import UnusableError
from medvae.records import Category, Finding, Mask
from medvae.schema import Fields

# pycocotools allocates memory for each pixel along an outline.
_LONGEST_OUTLINE = 1_000_000.0


def encode(mask: Mask, shape: tuple[int, int]) -> dict[str, Any]:
    """Return a mask as compressed run lengths, with ``counts`` as ASCII text."""
    full = np.asfortranarray(mask.on(shape), dtype=np.uint8)
    return {"size": list(shape), "counts": coco_mask.encode(full)["counts"].decode("ascii")}


def decode(segmentation: object, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a segmentation, run lengths or polygons, as a mask of ``[rows, columns]``.

    Raises:
        UnusableError: The segmentation is neither, or does not fit the slice.
    """
    rows, columns = shape
    if isinstance(segmentation, list):
        outlines = [_outline(polygon, shape) for polygon in segmentation]
        merged = coco_mask.merge(coco_mask.frPyObjects(outlines, rows, columns))
        segmentation = {"size": [rows, columns], "counts": merged["counts"].decode("ascii")}
    if not isinstance(segmentation, dict):
        raise UnusableError("its segmentation is neither run lengths nor polygons")
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [rows, columns]:
        raise UnusableError(
            f"its segmentation has size {size}, but its slice has {[rows, columns]}"
        )
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise UnusableError("its segmentation's `counts` cannot be read")
    # pycocotools leaves memory uninitialised after runs that end early.
    if sum(runs) != rows * columns:
        raise UnusableError(f"its segmentation covers {sum(runs)} of {rows * columns} pixels")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(columns, rows).T


def reaches_over(segmentation: object, shape: tuple[int, int]) -> bool:
    """Return whether a segmentation that `decode` accepted has polygons beyond the edge."""
    if not isinstance(segmentation, list):
        return False
    rows, columns = shape
    return any(
        min(polygon) < 0 or max(polygon[::2]) > columns or max(polygon[1::2]) > rows
        for polygon in segmentation
    )


def _unpacked(counts: str) -> list[int] | None:
    """Decompress COCO run lengths: 5 bits a character, as differences from the last but one."""
    runs: list[int] = []
    run = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        run |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            run -= 1 << shift
        runs.append(run + (runs[-2] if len(runs) > 2 else 0))
        run = shift = 0
    return None if shift else runs


def _outline(polygon: object, shape: tuple[int, int]) -> list[float]:
    if (
        not isinstance(polygon, list)
        or len(polygon) < 6
        or len(polygon) % 2
        or not all(type(value) in (int, float) for value in polygon)
    ):
        raise UnusableError("its polygon is not a list of three or more points")
    limit = 2.0 * max(shape)
    if not all(-limit <= value <= limit for value in polygon):
        raise UnusableError("its polygon lies far outside the slice or is not finite")
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    length = sum(max(abs(x1 - x0), abs(y1 - y0)) for (x0, y0), (x1, y1) in pairwise(points))
    if length > _LONGEST_OUTLINE:
        raise UnusableError(
            f"its polygon has a perimeter of {length:.0f} pixels, which is too long"
        )
    return [float(value) for value in polygon]


def finding_record(finding: Finding, shape: tuple[int, int]) -> dict[str, Any]:
    """Return a finding on a slice of this shape as JSON, with its box as ``[x0, y0, x1, y1]``."""
    record: dict[str, Any] = {
        "category": finding.category.name,
        "supercategory": finding.category.supercategory,
        "box": list(finding.box),
    }
    if finding.mask is not None:
        record["mask"] = encode(finding.mask, shape)
    return record


def finding_from_record(
    record: Mapping[str, Any], shape: tuple[int, int], where: str = "a finding"
) -> Finding:
    """Return the finding in a record that :func:`finding_record` made.

    Args:
        record: Record as read from JSON.
        shape: Numbers of rows and columns of the slice.
        where: Name of the file and the record, for messages.

    Raises:
        ReadError: The record is not valid, or does not fit the slice.
    """
    fields = Fields(where, record)
    box = x0, y0, x1, y1 = Box(*fields.numbers("box", 4))
    rows, columns = shape
    if not (max(x0, 0) < min(x1, columns) and max(y0, 0) < min(y1, rows)):
        raise fields.wrong("box", f"a box with an area on its slice of {rows}x{columns}")
    category = Category(fields.text("category"), fields.text("supercategory"))
    if not category.name.strip():
        raise fields.wrong("category", "a name")
    return Finding(category, box, _mask(fields, shape) if "mask" in fields else None)


def _mask(fields: Fields, shape: tuple[int, int]) -> Mask:
    try:
        mask = Mask.of(decode(fields.object("mask").content, shape))
    except UnusableError as error:
        raise ReadError(f"{fields.where}: {error}") from error
    if mask is None:
        raise ReadError(f"{fields.where}: its mask is empty")
    return mask
