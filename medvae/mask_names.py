"""Tells by their names which files and folders hold masks."""

from __future__ import annotations

import re

__all__ = ["is_mask_folder", "is_mask_name", "without_mask_word"]

_FOLDERS = {"mask", "masks", "label", "labels", "labelstr", "labelsts", "segmentations"}
# Digits may be in the last suffix only: in ``x_mask.t1.png`` the word is not at the end.
_WORD_AND_SUFFIXES = re.compile(
    r"[-_.](seg|segmentation|gt|masks?|labels?)(\.[a-z]+)*(\.[a-z][a-z0-9]{0,4})?$", re.IGNORECASE
)


def is_mask_name(name: str) -> bool:
    """Tell whether a file's name says that it is a mask, such as ``scan_seg.nii.gz``."""
    return _WORD_AND_SUFFIXES.search(name) is not None


def is_mask_folder(name: str) -> bool:
    """Tell whether a folder's name says that masks are in it, such as ``labelsTr``."""
    return name.lower() in _FOLDERS


def without_mask_word(name: str) -> str:
    """Return a mask's name without the word that makes it one, and without what follows."""
    return _WORD_AND_SUFFIXES.sub("", name)
