"""The model as augmentation uses it: batches of one size, so that each slice fares alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvae.networks import SliceVAE, fastest_dtype, inference_copy

__all__ = ["BATCH", "Network"]

BATCH = 16
"""Slices that are worked on together; on a GPU all go through the network at once."""

_AT_ONCE_ON_CPU = 4
"""There 16 at once are no faster than 4, and where one is drawn again, 15 more would be in vain."""


class Network:
    """A model in eval mode that encodes and decodes vectors.

    Every batch is filled up to one size: the rounding of matrix products depends on it, and what
    becomes of a slice must not depend on how many others there are.

    Args:
        model: on the CPU; it stays as it is.
        device: to compute on.

    Attributes:
        size: of the canvas.
        latent_shape: of one latent.
    """

    def __init__(self, model: SliceVAE, device: torch.device) -> None:
        self.size = model.image_size
        self._device = device
        self._at_once = _AT_ONCE_ON_CPU if device.type == "cpu" else BATCH
        self.latent_shape = model.latent_shape
        self._model = inference_copy(model, fastest_dtype(device)).to(device)

    @torch.inference_mode()
    def encode(self, images: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
        """Return ``mu`` and ``logvar``, ``[N, D]`` on the CPU, of canvases ``[size, size]``."""
        parts = []
        for start in range(0, len(images), self._at_once):
            batch = torch.from_numpy(np.stack(images[start : start + self._at_once]))[:, None]
            filled = self._filled(batch).contiguous(memory_format=torch.channels_last)
            posterior = torch.stack(self._model.encode(filled.to(self._device)))
            parts.append(posterior[:, : len(batch)].flatten(2).float().cpu())
        mu, logvar = torch.cat(parts, dim=1)
        return mu, logvar

    @torch.inference_mode()
    def decode(self, z: Tensor) -> Tensor:
        """Return pictures ``[N, 1, size, size]`` on the device for latents ``[N, D]``."""
        parts = []
        for batch in z.split(self._at_once):
            shaped = self._filled(batch).reshape(-1, *self.latent_shape).to(self._device)
            pictures = self._model.decode(shaped)[: len(batch)].float()
            # A model with three channels makes grey pictures in colour.
            parts.append(pictures.mean(dim=1, keepdim=True))
        return torch.cat(parts)

    def _filled(self, batch: Tensor) -> Tensor:
        """Repeat the last of a batch until it has the one size."""
        missing = self._at_once - len(batch)
        rest = batch[-1:].expand(missing, *batch.shape[1:])
        return torch.cat((batch, rest)) if missing else batch
