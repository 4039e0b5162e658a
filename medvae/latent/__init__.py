"""The latent space: latents of slices, their statistics and neighbours, and samplers."""

from __future__ import annotations

from medvae.latent._latents import Latents, LatentStatistics, nearest
from medvae.latent._sampler import Drawn, Partner, Sampler, SamplerContext
from medvae.latent._samplers import (
    SAMPLERS,
    AlignSampler,
    DirectionSampler,
    GaussianSampler,
    InterpolateSampler,
    PosteriorSampler,
    PriorSampler,
    make_sampler,
)

__all__ = [
    "SAMPLERS",
    "AlignSampler",
    "DirectionSampler",
    "Drawn",
    "GaussianSampler",
    "InterpolateSampler",
    "LatentStatistics",
    "Latents",
    "Partner",
    "PosteriorSampler",
    "PriorSampler",
    "Sampler",
    "SamplerContext",
    "make_sampler",
    "nearest",
]
