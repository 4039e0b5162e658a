"""Access to DICOM headers: functional groups of frames, and integers as they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR

__all__ = [
    "GROUP_SEQUENCES",
    "Attributes",
    "functional_group",
    "functional_groups",
    "stored_integer",
]

Attributes = dict[str, Any] | Dataset
"""Values by DICOM keyword; access is much faster in a dictionary than in a dataset."""

GROUP_SEQUENCES = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
"""Attributes that hold the functional groups of a multi-frame image."""


def functional_group(dataset: Attributes, frame: int, name: str) -> Attributes | None:
    """Return a functional group of a frame: its own group, else the shared group, else None.

    Args:
        dataset: Header of the file.
        frame: Index of the frame.
        name: Keyword of the group, such as ``PlanePositionSequence``.
    """
    for groups in _of_frame(dataset, frame):
        items = groups.get(name)
        if items:
            return items[0]  # type: ignore[no-any-return]
    return None


def functional_groups(dataset: Attributes, frame: int) -> Iterator[Dataset]:
    """Yield all functional groups of a frame, and then those that all frames share."""
    for groups in _of_frame(dataset, frame):
        for tag in groups.keys():  # iterating a dataset converts its values
            if not tag.is_private and dictionary_VR(tag) == "SQ" and groups[tag].value:
                yield groups[tag].value[0]


def stored_integer(value: Any, bits: int, signed: bool) -> int:
    """Return the integer that ``bits`` bits hold, with a sign that a wrong VR may have lost.

    Args:
        value: Value of an attribute such as PixelPaddingValue: a number, or little-endian bytes.
        bits: Number of bits of a stored pixel.
        signed: Whether stored pixels are signed.
    """
    raw = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    number: int = raw % 2**bits
    return number - 2**bits if signed and number >= 2 ** (bits - 1) else number


def _of_frame(dataset: Attributes, frame: int) -> tuple[Dataset, ...]:
    own, shared = (dataset.get(keyword) or () for keyword in GROUP_SEQUENCES)
    return (*own[frame : frame + 1], *shared[:1])
