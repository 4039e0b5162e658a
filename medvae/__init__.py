"""Synthetic medical slices with correct boxes and masks, for detection sets that are too small."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medvae.augmentation import Augmented, augment
    from medvae.errors import (
        DecodeError,
        LabelError,
        MedvaeError,
        ReadError,
        UsageProblem,
        WriteError,
    )
    from medvae.inspection import Inspection, inspect_studies
    from medvae.labels import attach_labels, write_coco, write_datalist, write_yolo
    from medvae.readers import Scan, open_studies, read_pixels, verify_pixels

__version__ = "0.1.0.dev0"

_HOMES = {
    "medvae.augmentation": ("Augmented", "augment"),
    "medvae.errors": (
        "DecodeError",
        "LabelError",
        "MedvaeError",
        "ReadError",
        "UsageProblem",
        "WriteError",
    ),
    "medvae.inspection": ("Inspection", "inspect_studies"),
    "medvae.labels": ("attach_labels", "write_coco", "write_datalist", "write_yolo"),
    "medvae.readers": ("Scan", "open_studies", "read_pixels", "verify_pixels"),
}

__all__ = [
    "Augmented",
    "DecodeError",
    "Inspection",
    "LabelError",
    "MedvaeError",
    "ReadError",
    "Scan",
    "UsageProblem",
    "WriteError",
    "attach_labels",
    "augment",
    "inspect_studies",
    "open_studies",
    "read_pixels",
    "verify_pixels",
    "write_coco",
    "write_datalist",
    "write_yolo",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that the command starts quickly."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'medvae' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
