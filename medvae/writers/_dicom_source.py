"""The header of the DICOM file that a slice came from, read one attribute at a time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.tag import Tag

from medvae.dicom import GROUP_SEQUENCES, functional_groups, stored_integer
from medvae.errors import WriteError

__all__ = ["SourceFile", "SourceFrame"]

_TEXT = {"CS", "DS", "IS", "LO", "UI"}


class SourceFile:
    """The header of a DICOM file.

    Args:
        path: Path of the file.
        keywords: Keywords of the attributes to read, at the top level or in functional groups.

    Raises:
        WriteError: The file can no longer be read. The message does not name it.
    """

    def __init__(self, path: Path, keywords: Iterable[str]) -> None:
        self.path = path
        tags = [Tag(keyword) for keyword in (*keywords, *GROUP_SEQUENCES)]
        try:
            self._dataset = dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
        except OSError as error:
            raise WriteError(f"its source can no longer be read: {error.strerror}") from error
        except Exception as error:  # pydicom raises many kinds
            raise WriteError("its source can no longer be read as DICOM") from error
        meta = getattr(self._dataset, "file_meta", Dataset())
        (sop_class,) = _texts(self._dataset, "SOPClassUID")[:1] or ("",)
        self.sop_class = sop_class or str(meta.get("MediaStorageSOPClassUID") or "")
        self.transfer_syntax = str(meta.get("TransferSyntaxUID") or "")

    def frame(self, index: int) -> SourceFrame:
        """Return the part of the header that applies to one frame."""
        places = [*functional_groups(self._dataset, index), self._dataset]
        return SourceFrame(self.sop_class, self.transfer_syntax, places)


class SourceFrame:
    """The part of a header that applies to one frame.

    Args:
        sop_class, transfer_syntax: SOP class and transfer syntax of the file.
        places: Datasets searched for attributes, beginning with those of the frame alone.
    """

    def __init__(self, sop_class: str, transfer_syntax: str, places: list[Dataset]) -> None:
        self.sop_class = sop_class
        self.transfer_syntax = transfer_syntax
        self._places = places

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return the values of an attribute as text; empty if it is missing or malformed."""
        for place in self._places:
            try:
                found = _texts(place, keyword)
            except Exception:  # pydicom raises many kinds for a value that it cannot convert
                continue
            if found:
                return found
        return ()

    def text(self, keyword: str) -> str:
        """Return the first value of an attribute as text; empty if there is none."""
        return next(iter(self.texts(keyword)), "")

    def has(self, keyword: str) -> bool:
        """Return whether the attribute is present, with any value."""
        return any(keyword in place for place in self._places)

    def integer(self, keyword: str, bits: int, signed: bool) -> int | None:
        """Return an integer of ``bits`` bits, restoring a sign that a wrong VR may have lost."""
        for place in self._places:
            try:
                return stored_integer(place[keyword].value, bits, signed)
            except Exception:  # missing, or one of the many kinds that pydicom raises
                continue
        return None


def _texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    if tag not in dataset:
        return ()
    # Take the raw value, because pydicom would warn about values that violate the standard.
    value: Any = dataset.get_item(tag).value
    if isinstance(value, bytes) and dictionary_VR(tag) in _TEXT:
        value = value.decode("ascii", "replace").split("\\")
    elif isinstance(value, bytes):
        value = dataset[tag].value
    several = isinstance(value, Iterable) and not isinstance(value, str)
    parts = tuple(str(part).strip(" \0") for part in (value if several else (value,)))
    return parts if value is not None and any(parts) else ()
