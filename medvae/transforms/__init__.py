"""MONAI transforms for corruptions, neighbours in the latent space, and transplanted lesions."""

from __future__ import annotations

from medvae.transforms._bank import TransplantBank
from medvae.transforms._corruption import (
    RandGaussianCorruption,
    RandGaussianCorruptionD,
    RandGaussianCorruptiond,
    RandGaussianCorruptionDict,
    RandMaskCorruption,
    RandMaskCorruptionD,
    RandMaskCorruptiond,
    RandMaskCorruptionDict,
    RandPoissonGaussianCorruption,
    RandPoissonGaussianCorruptionD,
    RandPoissonGaussianCorruptiond,
    RandPoissonGaussianCorruptionDict,
    RandRicianCorruption,
    RandRicianCorruptionD,
    RandRicianCorruptiond,
    RandRicianCorruptionDict,
)
from medvae.transforms._latent_neighbour import (
    RandLatentNeighbor,
    RandLatentNeighborD,
    RandLatentNeighbord,
    RandLatentNeighborDict,
)
from medvae.transforms._transplant import RandTransplantD, RandTransplantd, RandTransplantDict

__all__ = [
    "RandGaussianCorruption",
    "RandGaussianCorruptionD",
    "RandGaussianCorruptionDict",
    "RandGaussianCorruptiond",
    "RandLatentNeighbor",
    "RandLatentNeighborD",
    "RandLatentNeighborDict",
    "RandLatentNeighbord",
    "RandMaskCorruption",
    "RandMaskCorruptionD",
    "RandMaskCorruptionDict",
    "RandMaskCorruptiond",
    "RandPoissonGaussianCorruption",
    "RandPoissonGaussianCorruptionD",
    "RandPoissonGaussianCorruptionDict",
    "RandPoissonGaussianCorruptiond",
    "RandRicianCorruption",
    "RandRicianCorruptionD",
    "RandRicianCorruptionDict",
    "RandRicianCorruptiond",
    "RandTransplantD",
    "RandTransplantDict",
    "RandTransplantd",
    "TransplantBank",
]
