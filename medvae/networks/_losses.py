"""Losses of the variational autoencoder, with the terms worth logging."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medvae.networks._vae import Reconstruction

_ACTIVE_VARIANCE = 0.01
"""Variance of a latent unit's mean over slices above which it is active (Burda, 2016)."""


class LossTerms(NamedTuple):
    """A loss and its terms, as scalars: nats per slice, and the number of active latent units."""

    loss: Tensor
    reconstruction: Tensor
    kl: Tensor
    active_units: Tensor


class VAELoss(nn.Module, ABC):
    """Loss whose KL weight grows linearly over the first steps in training mode.

    A call returns the loss as a scalar, as MONAI's trainers require, and in training mode counts
    the step. The count is part of the `state_dict`, so that training can resume.
    """

    step: Tensor

    def __init__(self, kl_weight: float = 1.0, warm_up_steps: int = 0) -> None:
        super().__init__()
        self.kl_weight = kl_weight
        self.warm_up_steps = warm_up_steps
        self.register_buffer("step", torch.tensor(0))

    def forward(self, prediction: Reconstruction, target: Tensor) -> Tensor:
        loss = self.terms(prediction, target).loss
        if self.training:
            self.step += 1
        return loss

    @abstractmethod
    def terms(self, prediction: Reconstruction, target: Tensor) -> LossTerms:
        """Return the loss and its terms for targets `[N, C, H, W]`, without counting a step."""

    def _warm_kl_weight(self) -> Tensor:
        share = (self.step / max(self.warm_up_steps, 1)).clamp(max=1.0)
        return self.kl_weight * (share if self.warm_up_steps else torch.ones_like(share))


class PublishedLoss(VAELoss):
    """Mean over slices of D * MSE + KL, where D is the number of pixels.

    Args:
        kl_weight: Weight of the KL divergence after the warm-up.
        warm_up_steps: Number of training steps in which the weight grows from 0.
    """

    def terms(self, prediction: Reconstruction, target: Tensor) -> LossTerms:
        error = (prediction.image.float() - target.float()).square().flatten(1).sum(1).mean()
        kl = kl_of_units(prediction.mu, prediction.logvar).sum()
        loss = error + self._warm_kl_weight() * kl
        return LossTerms(loss, error, kl, active_units(prediction.mu))


class CalibratedLoss(VAELoss):
    """D/2 * log MSE + KL, a Gaussian likelihood with the variance that best fits the batch.

    Args:
        kl_weight: Weight of the KL divergence after the warm-up.
        warm_up_steps: Number of training steps in which the weight grows from 0.
        free_bits: KL divergence of each latent unit, in bits, below which it is not penalised.
    """

    def __init__(
        self, kl_weight: float = 1.0, warm_up_steps: int = 0, free_bits: float = 0.0
    ) -> None:
        super().__init__(kl_weight, warm_up_steps)
        self.free_bits = free_bits

    def terms(self, prediction: Reconstruction, target: Tensor) -> LossTerms:
        mse = (prediction.image.float() - target.float()).square().mean()
        # A reconstruction of 80 dB or better must not outweigh everything else.
        error = 0.5 * target[0].numel() * mse.clamp(min=1e-8).log()
        units = kl_of_units(prediction.mu, prediction.logvar)
        charged = units.clamp(min=self.free_bits * math.log(2.0)).sum()
        loss = error + self._warm_kl_weight() * charged
        return LossTerms(loss, error, units.sum(), active_units(prediction.mu))


def kl_of_units(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return each latent unit's KL divergence from the standard normal, averaged over the batch.

    Args:
        mu: Means `[N, ...]`.
        logvar: Logarithms of the variances, of the same shape.

    Returns:
        KL divergences in nats, `[units]`.
    """
    divergence = 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar)
    return divergence.flatten(1).mean(0)


def active_units(mu: Tensor) -> Tensor:
    """Return the number of latent units whose means `[N, ...]` vary between slices."""
    variances = mu.detach().flatten(1).var(0, correction=0)
    return (variances > _ACTIVE_VARIANCE).sum()
