"""The latents of slices, and pictures decoded along their principal directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medvae.audit._estimate import Pool
from medvae.audit._extractors import encoder, extract
from medvae.audit._latent_view import LatentView, latent_view
from medvae.networks import Codec, SliceVAE
from medvae.randomness import generator

__all__ = ["LatentPicture", "look"]

_MOST = 2000
"""Largest number of slices of a set that are viewed; a spatial latent has some 10 000 units."""


@dataclass(frozen=True, eq=False)
class LatentPicture:
    """The latent view with its decoded pictures.

    Attributes:
        view: The numbers of the view.
        traversals: Pictures decoded from its traversals, ``[T, steps, size, size]``.
        rows: Indices of the real slices that are shown, in ascending order.
    """

    view: LatentView
    traversals: NDArray[np.float32]
    rows: NDArray[np.intp]


def look(
    model: SliceVAE,
    real: Pool,
    synthetic: Pool | None,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> LatentPicture:
    """Encode slices, and decode along the principal directions of the real ones.

    Args:
        model: Model in eval mode, on the CPU.
        real: Slices that define the principal directions.
        synthetic: Slices to show beside the real ones, or None.
        seed: Random seed for choosing slices if there are very many.
        device: Device to compute on.
        progress: Called with (done, total) as slices are encoded.
    """
    rows = _chosen(len(real), seed)
    latents = _latents(model, real, rows, device, progress)
    others = None
    if synthetic is not None:
        others = _latents(model, synthetic, _chosen(len(synthetic), seed), device, progress)
    view = latent_view(latents, others)
    return LatentPicture(view, _decoded(model, view.traversals, device), rows)


def _chosen(count: int, seed: int) -> NDArray[np.intp]:
    rows = np.arange(count)
    if count > _MOST:
        rows = np.sort(generator(seed, "latents", count).choice(count, _MOST, replace=False))
    return rows.astype(np.intp)


def _latents(
    model: SliceVAE,
    pool: Pool,
    rows: NDArray[np.intp],
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> NDArray[np.float32]:
    own = Pool(
        pool.pictures[rows],
        tuple(pool.groups[row] for row in rows),
        tuple(pool.keys[row] for row in rows),
    )
    return extract(encoder(model, device, whole=True), own, progress)


def _decoded(
    model: SliceVAE, latents: NDArray[np.float32], device: torch.device
) -> NDArray[np.float32]:
    """Decode latents ``[T, steps, D]``."""
    codec = Codec(model, device, torch.float32)
    decoded = codec.decode(torch.from_numpy(latents).flatten(0, 1))
    pictures = decoded[:, 0].clamp(0, 1).cpu().numpy()
    return pictures.reshape(*latents.shape[:2], *pictures.shape[1:])
