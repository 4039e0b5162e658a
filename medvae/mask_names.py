"""Recognise files and folders of masks by their names."""

from __future__ import annotations

import re

__all__ = ["is_mask_folder", "is_mask_name", "without_mask_word"]

_FOLDERS = {"mask", "masks", "label", "labels", "labelstr", "labelsts", "segmentations"}
# Only the last suffix may contain digits: in ``x_mask.t1.png`` the word is not at the end.
_WORD_AND_SUFFIXES = re.compile(
    r"[-_.](seg|segmentation|gt|masks?|labels?)(\.[a-z]+)*(\.[a-z][a-z0-9]{0,4})?$", re.IGNORECASE
)


def is_mask_name(name: str) -> bool:
    """Return whether a file name, such as ``scan_seg.nii.gz``, denotes a mask."""
    return _WORD_AND_SUFFIXES.search(name) is not None


def is_mask_folder(name: str) -> bool:
    """Return whether a folder name, such as ``labelsTr``, denotes a folder of masks."""
    return name.lower() in _FOLDERS


def without_mask_word(name: str) -> str:
    """Return the name of a mask without the word that marks it as one and all that follows."""
    return _WORD_AND_SUFFIXES.sub("", name)
