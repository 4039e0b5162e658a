"""Convert complete findings, with box, mask and category, to and from plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvae.errors import ReadError
from medvae.geometry import Box
from medvae.labels._problem import UnusableError
from medvae.labels._rle import decode, encode
from medvae.records import Category, Finding, Mask
from medvae.schema import Fields

__all__ = ["finding_from_record", "finding_record"]


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
    said = Fields(where, record)
    box = x0, y0, x1, y1 = Box(*said.numbers("box", 4))
    rows, columns = shape
    if not (max(x0, 0) < min(x1, columns) and max(y0, 0) < min(y1, rows)):
        raise said.wrong("box", f"a box with an area on its slice of {rows}x{columns}")
    category = Category(said.text("category"), said.text("supercategory"))
    if not category.name.strip():
        raise said.wrong("category", "a name")
    return Finding(category, box, _mask(said, shape) if "mask" in said else None)


def _mask(said: Fields, shape: tuple[int, int]) -> Mask:
    try:
        mask = Mask.of(decode(said.object("mask").content, shape))
    except UnusableError as error:
        raise ReadError(f"{said.where}: {error}") from error
    if mask is None:
        raise ReadError(f"{said.where}: its mask is empty")
    return mask
