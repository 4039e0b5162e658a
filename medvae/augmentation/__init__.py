"""Augmentation of studies: synthetic slices with labels that can be trusted."""

from __future__ import annotations

from medvae.augmentation._job import Augmented, augment

__all__ = ["Augmented", "augment"]
