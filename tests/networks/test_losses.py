"""Losses against an independent computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from medvae.networks import CalibratedLoss, PublishedLoss, Reconstruction, active_units, kl_of_units


@pytest.fixture
def prediction() -> Reconstruction:
    torch.manual_seed(0)
    image = torch.rand(6, 1, 8, 8, requires_grad=True)
    return Reconstruction(image, torch.randn(6, 5), torch.randn(6, 5))


@pytest.fixture
def target() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(6, 1, 8, 8)


def independent_kl(prediction: Reconstruction) -> torch.Tensor:
    """Return nats for each slice and unit `[N, units]`."""
    posterior = Normal(prediction.mu, (0.5 * prediction.logvar).exp())
    return kl_divergence(posterior, Normal(0.0, 1.0))


def errors(prediction: Reconstruction, target: torch.Tensor) -> np.ndarray:
    """Return the squared errors `[N, D]`."""
    difference = prediction.image.detach().numpy() - target.numpy()
    return np.square(difference.astype(np.float64)).reshape(len(target), -1)


def test_published(prediction: Reconstruction, target: torch.Tensor) -> None:
    terms = PublishedLoss(kl_weight=0.5).terms(prediction, target)
    d_mse = 64 * errors(prediction, target).mean(1)
    kl = independent_kl(prediction).sum(1).numpy()
    assert terms.loss.item() == pytest.approx((d_mse + 0.5 * kl).mean(), rel=1e-5)
    assert terms.reconstruction.item() == pytest.approx(d_mse.mean(), rel=1e-5)
    assert terms.kl.item() == pytest.approx(kl.mean(), rel=1e-5)


def test_calibrated(prediction: Reconstruction, target: torch.Tensor) -> None:
    terms = CalibratedLoss(kl_weight=2.0).terms(prediction, target)
    likelihood = 32 * math.log(errors(prediction, target).mean())
    kl = independent_kl(prediction).sum(1).mean().item()
    assert terms.loss.item() == pytest.approx(likelihood + 2 * kl, rel=1e-5)
    assert terms.reconstruction.item() == pytest.approx(likelihood, rel=1e-5)
    assert terms.kl.item() == pytest.approx(kl, rel=1e-5)


def test_calibrated_is_the_likelihood_at_the_best_variance(
    prediction: Reconstruction, target: torch.Tensor
) -> None:
    """Up to a constant: no other variance gives the Gaussian a smaller negative logarithm."""
    squared = errors(prediction, target)
    variances = np.linspace(0.5, 2.0, 151) * squared.mean()
    negative_log = 32 * np.log(variances) + squared.sum(1).mean() / (2 * variances)
    terms = CalibratedLoss().terms(prediction, target)
    assert terms.reconstruction.item() + 32 == pytest.approx(negative_log.min(), rel=1e-6)


def test_free_bits_cost_nothing(prediction: Reconstruction, target: torch.Tensor) -> None:
    units = independent_kl(prediction).mean(0)
    bits = 1.0
    assert (units < bits * math.log(2)).any()
    assert (units > bits * math.log(2)).any()
    terms = CalibratedLoss(free_bits=bits).terms(prediction, target)
    charged = np.maximum(units.numpy(), bits * math.log(2)).sum()
    assert (terms.loss - terms.reconstruction).item() == pytest.approx(charged, rel=1e-5)
    assert terms.kl.item() == pytest.approx(units.sum().item(), rel=1e-5)


@pytest.mark.parametrize("make", [PublishedLoss, CalibratedLoss])
def test_warm_up_counts_training_steps_and_resumes(
    make: type[PublishedLoss] | type[CalibratedLoss],
    prediction: Reconstruction,
    target: torch.Tensor,
) -> None:
    loss = make(kl_weight=2.0, warm_up_steps=4)
    terms = loss.terms(prediction, target)
    expected = [
        terms.reconstruction.item() + weight * terms.kl.item() for weight in (0, 0.5, 1, 1.5, 2, 2)
    ]
    reached = [loss(prediction, target).item() for _ in range(3)]
    resumed = make(kl_weight=2.0, warm_up_steps=4)
    resumed.load_state_dict(loss.state_dict())
    resumed.eval()(prediction, target)
    resumed.train()
    reached += [resumed(prediction, target).item() for _ in range(3)]
    assert reached == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [PublishedLoss(), CalibratedLoss()])
def test_loss_reaches_the_picture(
    loss: PublishedLoss | CalibratedLoss, prediction: Reconstruction, target: torch.Tensor
) -> None:
    value = loss(prediction, target)
    assert value.shape == ()
    value.backward()
    assert prediction.image.grad is not None
    assert prediction.image.grad.isfinite().all()


def test_perfect_reconstruction_has_a_finite_loss(target: torch.Tensor) -> None:
    perfect = Reconstruction(target, torch.zeros(6, 5), torch.zeros(6, 5))
    assert CalibratedLoss()(perfect, target).isfinite()


def test_spatial_latents_count_every_position() -> None:
    mu = torch.zeros(4, 2, 3, 3)
    mu[:, 0, 0, 0] = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    mu[:, 1] = 5.0
    assert kl_of_units(mu, torch.zeros_like(mu)).shape == (18,)
    assert active_units(mu) == 1
