"""The model as augmentation uses it, with a fixed batch size that treats all slices alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvae.networks import SliceVAE, fastest_dtype, inference_copy

__all__ = ["BATCH", "Network"]

BATCH = 16
"""Number of slices processed together; on a GPU, all go through the network at once."""

_AT_ONCE_ON_CPU = 4
"""On a CPU, 16 at once are no faster than 4, and redrawing one slice would waste 15 others."""


class Network:
    """A model in eval mode that encodes and decodes vectors.

    Every batch is padded to one size: the rounding of matrix products depends on the batch size,
    and the result for a slice must not depend on how many others there are.

    Args:
        model: Model on the CPU; it is not modified.
        device: Device to compute on.

    Attributes:
        size: Side length of the canvas.
        latent_shape: Shape of one latent.
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
        """Return images ``[N, 1, size, size]`` on the device for latents ``[N, D]``."""
        parts = []
        for batch in z.split(self._at_once):
            shaped = self._filled(batch).reshape(-1, *self.latent_shape).to(self._device)
            pictures = self._model.decode(shaped)[: len(batch)].float()
            # A model with three channels decodes grey images in colour.
            parts.append(pictures.mean(dim=1, keepdim=True))
        return torch.cat(parts)

    def _filled(self, batch: Tensor) -> Tensor:
        """Pad a batch to the fixed size by repeating its last item."""
        missing = self._at_once - len(batch)
        rest = batch[-1:].expand(missing, *batch.shape[1:])
        return torch.cat((batch, rest)) if missing else batch
