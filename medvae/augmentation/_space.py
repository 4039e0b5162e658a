"""Positions of the slices of a run in the latent space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medvae.augmentation._sources import Located
from medvae.latent import Latents

__all__ = ["Space"]


@dataclass(frozen=True, eq=False)
class Space:
    """Positions of slices in the latent space.

    Attributes:
        latents: Latents of all slices that were read.
        rows: Row of each slice in ``latents``.
    """

    latents: Latents
    rows: Mapping[Located, int]

    def of(self, items: Sequence[Located]) -> Latents:
        """Return the latents of some slices."""
        return self.latents.take([self.rows[item] for item in items])
