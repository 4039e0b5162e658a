"""The `warp` render without anything learned: its fields, with patterns drawn at random."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from medvae.render._placement import Placement, without_folds
from medvae.render._warp import Change, Warp

__all__ = ["RandomField"]

_NEAR = 9
"""Side, in cells, of the window in which the strength of a field is measured."""


class RandomField(Warp):
    """Render that moves the same parts of slices as strongly and as smoothly as `warp` does.

    The field that the latents give is divided by its local strength. The Fourier amplitudes of the
    result are kept and get random phases; then it is multiplied by the strength again. The change
    of intensity is treated in the same way.
    """

    name = "field"

    def change(
        self, source: Tensor, target: Tensor, velocity: Tensor, placement: Placement
    ) -> Change:
        """Return how a slice changes."""
        learned = super().change(source, target, velocity, placement)
        key = hashlib.blake2b(target.cpu().numpy().tobytes(), digest_size=8).digest()
        random = np.random.default_rng(int.from_bytes(key, "little"))
        field, weakened = without_folds(_scrambled(learned.field.velocity, random), placement)
        return Change(field, weakened, _scrambled(learned.intensity, random))


def _scrambled(values: Tensor, random: np.random.Generator) -> Tensor:
    """Return ``[C, rows, columns]`` with a random pattern of the same strength and smoothness."""
    squares = values.square().sum(dim=0, keepdim=True)
    strength = avg_pool2d(squares[None], _NEAR, 1, _NEAR // 2, count_include_pad=False)[0].sqrt()
    if not strength.any():
        return values
    even = values / strength.clamp(min=1e-6)
    noise = torch.from_numpy(random.standard_normal(values.shape).astype(np.float32))
    phases = torch.fft.rfft2(noise.to(values.device)).angle()
    pattern = torch.fft.irfft2(torch.polar(torch.fft.rfft2(even).abs(), phases), s=even.shape[1:])
    drawn = pattern * strength
    # Nothing moves where the learned field is zero, such as across the border of the slice.
    drawn = drawn * (values != 0)
    scaled: Tensor = drawn * (squares.sum() / drawn.square().sum().clamp(min=1e-12)).sqrt()
    return scaled
