"""The latents of some slices, and what the directions decode to in which they vary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medvae.audit._estimate import Pool
from medvae.audit._extractors import encoder, extract
from medvae.audit._latent_view import LatentView, latent_view
from medvae.networks import SliceVAE, inference_copy
from medvae.randomness import generator

__all__ = ["LatentPicture", "look"]

_MOST = 2000
"""Slices of a set whose latents are looked at: a spatial latent has some 10 000 units."""

_BATCH = 16


@dataclass(frozen=True, eq=False)
class LatentPicture:
    """The latent view with what it shows.

    Attributes:
        view: the numbers.
        traversals: what the latents of its traversals decode to, ``[T, steps, size, size]``.
        rows: places of the real slices that are looked at, in their order.
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
    """Look at the latents of slices, and at what the directions decode to in which they vary.

    Args:
        model: in eval mode, on the CPU.
        real: whose directions they are.
        synthetic: is shown beside them.
        seed: chooses slices where there are very many.
        device: to compute on.
        progress: is told how many slices are encoded.
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


@torch.inference_mode()
def _decoded(
    model: SliceVAE, latents: NDArray[np.float32], device: torch.device
) -> NDArray[np.float32]:
    """Decode latents ``[T, steps, D]``."""
    fast = inference_copy(model).to(device)
    z = torch.from_numpy(latents).flatten(0, 1).reshape(-1, *model.latent_shape)
    parts = [fast.decode(batch.to(device)).mean(dim=1).float().cpu() for batch in z.split(_BATCH)]
    pictures = torch.cat(parts).clamp(0, 1).numpy()
    return pictures.reshape(*latents.shape[:2], *pictures.shape[1:])
