"""Augmentation of studies: synthetic slices with labels that can be trusted."""

from __future__ import annotations

from medvae.augmentation._augment import augment
from medvae.augmentation._run import Augmented

__all__ = ["Augmented", "augment"]
