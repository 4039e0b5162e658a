"""Augmentation of studies: synthetic slices with labels that can be trusted."""

from __future__ import annotations

from medvae.augmentation._job import Augmented, Progress, augment
from medvae.augmentation._settings import Settings

__all__ = ["Augmented", "Progress", "Settings", "augment"]
