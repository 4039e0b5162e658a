"""Synthetic medical slices with correct boxes and masks, for detection sets that are too small."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medvae.auditing import Audit, LatentReport, audit, latent_view
    from medvae.augmentation import Augmented, augment
    from medvae.denoising import Denoised, denoise
    from medvae.errors import (
        DecodeError,
        LabelError,
        MedvaeError,
        ReadError,
        TrainingError,
        UsageProblem,
        WriteError,
    )
    from medvae.geometry import Box, Geometry
    from medvae.inspection import Inspection, inspect_studies
    from medvae.labels import (
        LabelledImage,
        attach_labels,
        write_coco,
        write_datalist,
        write_yolo,
    )
    from medvae.manifest import Manifest, ManifestLine
    from medvae.models import TrainedModel, open_model
    from medvae.readers import Scan, open_studies, read_pixels, verify_pixels
    from medvae.records import Category, Finding, Labels, Mask, Pixels, Series, Slice, Study
    from medvae.training import train

__version__ = "0.1.0.dev0"

_MODULES = {
    "medvae.auditing": ("Audit", "LatentReport", "audit", "latent_view"),
    "medvae.augmentation": ("Augmented", "augment"),
    "medvae.denoising": ("Denoised", "denoise"),
    "medvae.errors": (
        "DecodeError",
        "LabelError",
        "MedvaeError",
        "ReadError",
        "TrainingError",
        "UsageProblem",
        "WriteError",
    ),
    "medvae.geometry": ("Box", "Geometry"),
    "medvae.inspection": ("Inspection", "inspect_studies"),
    "medvae.labels": (
        "LabelledImage",
        "attach_labels",
        "write_coco",
        "write_datalist",
        "write_yolo",
    ),
    "medvae.manifest": ("Manifest", "ManifestLine"),
    "medvae.models": ("TrainedModel", "open_model"),
    "medvae.readers": ("Scan", "open_studies", "read_pixels", "verify_pixels"),
    "medvae.records": (
        "Category",
        "Finding",
        "Labels",
        "Mask",
        "Pixels",
        "Series",
        "Slice",
        "Study",
    ),
    "medvae.training": ("train",),
}
"""Module of each public name."""

__all__ = [
    "Audit",
    "Augmented",
    "Box",
    "Category",
    "DecodeError",
    "Denoised",
    "Finding",
    "Geometry",
    "Inspection",
    "LabelError",
    "LabelledImage",
    "Labels",
    "LatentReport",
    "Manifest",
    "ManifestLine",
    "Mask",
    "MedvaeError",
    "Pixels",
    "ReadError",
    "Scan",
    "Series",
    "Slice",
    "Study",
    "TrainedModel",
    "TrainingError",
    "UsageProblem",
    "WriteError",
    "attach_labels",
    "audit",
    "augment",
    "denoise",
    "inspect_studies",
    "latent_view",
    "open_model",
    "open_studies",
    "read_pixels",
    "train",
    "verify_pixels",
    "write_coco",
    "write_datalist",
    "write_yolo",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that the command starts quickly."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'medvae' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
