"""The latent space of a training set: where its slices lie, and how they spread."""

from __future__ import annotations

from medvae.latent._statistics import LatentStatistics

__all__ = ["LatentStatistics"]
