"""Corruptions for denoising: what is left, how noisy it is, and whether it comes again."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.utility.dictionary import CopyItemsd

from medvae import transforms
from medvae.errors import UsageProblem
from medvae.transforms import (
    RandGaussianCorruption,
    RandGaussianCorruptiond,
    RandMaskCorruption,
    RandMaskCorruptiond,
    RandPoissonGaussianCorruption,
    RandPoissonGaussianCorruptiond,
    RandRicianCorruption,
    RandRicianCorruptiond,
)

KINDS = [
    (partial(RandMaskCorruption, 0.4), partial(RandMaskCorruptiond, share=0.4)),
    (RandGaussianCorruption, RandGaussianCorruptiond),
    (RandRicianCorruption, RandRicianCorruptiond),
    (RandPoissonGaussianCorruption, RandPoissonGaussianCorruptiond),
]
SIDE = 128


def flat(value: float) -> torch.Tensor:
    """Return a picture `[1, 128, 128]` of one value."""
    return torch.full((1, SIDE, SIDE), value)


@settings(deadline=None)
@given(share=st.floats(0.0, 1.0), block=st.integers(1, 9), seed=st.integers(0, 99))
def test_mask_leaves_the_share(share: float, block: int, seed: int) -> None:
    corrupt = RandMaskCorruption(share, block).set_random_state(seed)
    left = corrupt(torch.ones(2, 36, 36))
    assert torch.equal(left[0], left[1])
    blocks = left[0, ::block, ::block]
    assert blocks.sum().item() == round(share * blocks.numel())
    assert torch.equal(
        left[0], blocks.repeat_interleave(block, 0).repeat_interleave(block, 1)[:36, :36]
    )


def test_mask_keeps_values_and_draws_the_share_from_its_range() -> None:
    picture = torch.rand(1, 50, 50) + 0.1
    corrupt = RandMaskCorruption((0.2, 0.6)).set_random_state(0)
    shares = []
    for _ in range(200):
        left = corrupt(picture)
        assert torch.equal(left[left != 0], picture[left != 0])
        shares.append((left != 0).float().mean().item())
    assert min(shares) >= 0.199
    assert max(shares) <= 0.601
    assert np.mean(shares) == pytest.approx(0.4, abs=0.03)


def test_gaussian_noise_has_its_deviation_and_no_bias() -> None:
    noise = RandGaussianCorruption(0.1).set_random_state(0)(flat(0.5)) - 0.5
    assert noise.mean().item() == pytest.approx(0.0, abs=0.005)
    assert noise.std().item() == pytest.approx(0.1, rel=0.02)


def test_rician_background_is_rayleigh() -> None:
    noisy = RandRicianCorruption(0.1).set_random_state(0)(flat(0.0))
    assert noisy.min() >= 0
    assert noisy.mean().item() == pytest.approx(0.1 * math.sqrt(math.pi / 2), rel=0.02)
    assert noisy.var().item() == pytest.approx(0.01 * (2 - math.pi / 2), rel=0.05)


@pytest.mark.parametrize("signal", [0.05, 0.2, 0.8])
def test_rician_second_moment(signal: float) -> None:
    noisy = RandRicianCorruption(0.1).set_random_state(0)(flat(signal))
    assert noisy.square().mean().item() == pytest.approx(signal**2 + 2 * 0.1**2, rel=0.03)


@pytest.mark.parametrize("signal", [0.1, 0.5, 1.0])
def test_poisson_gaussian_variance_grows_with_the_signal(signal: float) -> None:
    noisy = RandPoissonGaussianCorruption(100.0, 0.05).set_random_state(0)(flat(signal))
    assert noisy.mean().item() == pytest.approx(signal, abs=0.005)
    assert noisy.var().item() == pytest.approx(signal / 100 + 0.05**2, rel=0.05)


def test_poisson_noise_alone_is_a_whole_number_of_photons() -> None:
    counts = RandPoissonGaussianCorruption(20.0, 0.0).set_random_state(0)(flat(0.3)) * 20
    torch.testing.assert_close(counts, counts.round(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("array", "dictionary"), KINDS)
@pytest.mark.parametrize("form", ["array", "dictionary"])
def test_same_state_gives_the_same_corruption(array: Any, dictionary: Any, form: str) -> None:
    picture = torch.rand(1, 16, 16)

    def run(seed: int) -> torch.Tensor:
        if form == "dictionary":
            corrupt = dictionary("image", prob=0.7).set_random_state(seed)
            return torch.stack([corrupt({"image": picture})["image"] for _ in range(8)])
        corrupt = array(prob=0.7).set_random_state(seed)
        return torch.stack([corrupt(picture) for _ in range(8)])

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


@pytest.mark.parametrize(("array", "dictionary"), KINDS)
def test_last_draw_can_be_applied_again(array: Any, dictionary: Any) -> None:
    picture = torch.rand(1, 16, 16)
    corrupt = array().set_random_state(0)
    first = corrupt(picture)
    assert torch.equal(corrupt(picture, randomize=False), first)
    assert not torch.equal(corrupt(picture), first)


@pytest.mark.parametrize(("array", "dictionary"), KINDS)
def test_probability_is_kept(array: Any, dictionary: Any) -> None:
    picture = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    corrupt = dictionary("image", prob=0.3).set_random_state(0)
    changed = [not torch.equal(corrupt({"image": picture})["image"], picture) for _ in range(500)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.06)
    assert torch.equal(array(prob=0.0)(picture), picture)


@pytest.mark.parametrize(("array", "dictionary"), KINDS)
def test_target_stays_clean_in_a_chain(array: Any, dictionary: Any) -> None:
    chain = Compose([CopyItemsd("image", names="target"), dictionary("image")])
    picture = MetaTensor(torch.rand(1, 16, 16), meta={"key": "slice 1"})
    original = picture.clone()
    chain.set_random_state(5)
    first = chain({"image": picture})
    assert torch.equal(first["target"], original)
    assert not torch.equal(first["image"], original)
    assert first["image"].meta["key"] == "slice 1"
    chain.set_random_state(5)
    assert torch.equal(chain({"image": picture})["image"], first["image"])


def test_numpy_pictures_are_taken() -> None:
    corrupted = RandMaskCorruption(0.4).set_random_state(0)(np.ones((1, 10, 10), dtype=np.float64))
    assert corrupted.dtype == torch.float32
    assert corrupted.sum().item() == 40


def test_missing_key() -> None:
    corrupt = RandMaskCorruptiond(["image", "other"], 0.4, allow_missing_keys=True)
    assert corrupt({"image": torch.ones(1, 4, 4)}).keys() == {"image"}
    with pytest.raises(KeyError, match="other"):
        RandMaskCorruptiond(["image", "other"], 0.4)({"image": torch.ones(1, 4, 4)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandMaskCorruption(1.2), "share must be one value, or two .* from 0 to 1"),
        (lambda: RandMaskCorruption((0.6, 0.2)), "the smaller first"),
        (lambda: RandMaskCorruption(0.4, block=0), "block must be 1 or more pixels, but is 0"),
        (lambda: RandGaussianCorruption(-0.1), "std must be"),
        (lambda: RandRicianCorruption(math.nan), "std must be"),
        (lambda: RandPoissonGaussianCorruption(0.0), "photons must be above 0"),
    ],
)
def test_impossible_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageProblem, match=message):
        make()


@pytest.mark.parametrize("kind", ["Mask", "Gaussian", "Rician", "PoissonGaussian"])
def test_monai_aliases(kind: str) -> None:
    array = f"Rand{kind}Corruption"
    dictionary = getattr(transforms, f"{array}d")
    for name in (f"{array}D", f"{array}Dict"):
        assert getattr(transforms, name) is dictionary
    assert {array, f"{array}d", f"{array}D", f"{array}Dict"} <= set(transforms.__all__)
