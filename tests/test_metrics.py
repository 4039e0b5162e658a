"""Figures of reconstructions: against formulas written anew, and on cases with known answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from monai.metrics.regression import PSNRMetric, SSIMMetric
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from medvae.metrics import (
    NOISE,
    degrade,
    held_out_figures,
    pooled_variance_explained,
    psnr,
    restore,
    ssim,
    variance_explained,
)
from medvae.networks import (
    ConvDecoder,
    GrayToColor,
    PlainEncoder,
    SliceVAE,
    VectorLatent,
    inference_copy,
)

SIDE = 32


def smooth_pictures(count: int = 6, seed: int = 0, side: int = SIDE) -> Tensor:
    """Make pictures `[N, 1, side, side]` in 0 to 1 with structure of several pixels."""
    noise = np.random.default_rng(seed).random((count, side, side))
    smooth = gaussian_filter(noise, (0, 3, 3))
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return torch.from_numpy(smooth).float()[:, None]


@pytest.fixture
def clean() -> Tensor:
    return smooth_pictures()


@pytest.fixture
def restored(clean: Tensor) -> Tensor:
    numbers = torch.Generator().manual_seed(0)
    amounts = torch.linspace(0.01, 0.3, len(clean)).view(-1, 1, 1, 1)
    return (clean + amounts * torch.randn(clean.shape, generator=numbers)).clamp(0, 1)


def tiny_model(out_channels: int = 1) -> SliceVAE:
    torch.manual_seed(0)
    return SliceVAE(
        GrayToColor(),
        PlainEncoder((8, 8)),
        VectorLatent(6, squeeze=4),
        ConvDecoder((8, 8)),
        image_size=SIDE,
        out_channels=out_channels,
    ).eval()


def similarity_of(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Compute SSIM as its authors write it, where the 11x11 window is inside the picture."""

    def local(values: NDArray[Any]) -> NDArray[Any]:
        filtered: NDArray[Any] = gaussian_filter(values, 1.5, truncate=3.4)
        return filtered[5:-5, 5:-5]

    mean_x, mean_y = local(x), local(y)
    var_x, var_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    both = local(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    return float((luminance * (2 * both + 0.03**2) / (var_x + var_y + 0.03**2)).mean())


class TestAgainstOthers:
    def test_psnr(self, restored: Tensor, clean: Tensor) -> None:
        errors = (restored - clean).double().numpy() ** 2
        expected = [10 * math.log10(1 / error.mean()) for error in errors]
        np.testing.assert_allclose(psnr(restored, clean).numpy(), expected, rtol=1e-9)
        monai = torch.as_tensor(PSNRMetric(max_val=1.0)(restored, clean))
        torch.testing.assert_close(psnr(restored, clean).float(), monai.flatten())

    def test_ssim(self, restored: Tensor, clean: Tensor) -> None:
        pairs = zip(restored.double().numpy(), clean.double().numpy(), strict=True)
        expected = [similarity_of(x[0], y[0]) for x, y in pairs]
        np.testing.assert_allclose(ssim(restored, clean).numpy(), expected, atol=1e-4)
        monai = torch.as_tensor(SSIMMetric(spatial_dims=2, data_range=1.0)(restored, clean))
        torch.testing.assert_close(ssim(restored, clean).float(), monai.flatten())

    def test_variance_explained(self, restored: Tensor, clean: Tensor) -> None:
        pairs = zip(restored.double().numpy(), clean.double().numpy(), strict=True)
        expected = [1 - ((x - y) ** 2).mean() / y.var() for x, y in pairs]
        shares = variance_explained(restored, clean).numpy()
        np.testing.assert_allclose(shares, expected, rtol=1e-9)

    def test_pooled_share_weighs_slices_by_their_variance(
        self, restored: Tensor, clean: Tensor
    ) -> None:
        weights = clean.double().numpy().var((1, 2, 3))
        shares = variance_explained(restored, clean).numpy()
        expected = np.average(shares, weights=weights)
        assert pooled_variance_explained(restored, clean) == pytest.approx(expected)


class TestKnownAnswers:
    def test_perfect_pictures(self, clean: Tensor) -> None:
        assert psnr(clean, clean).tolist() == [100.0] * len(clean)
        assert ssim(clean, clean).tolist() == pytest.approx([1.0] * len(clean))
        assert variance_explained(clean, clean).tolist() == [1.0] * len(clean)
        assert pooled_variance_explained(clean, clean) == 1.0

    def test_error_of_a_tenth_everywhere_is_20_db(self, clean: Tensor) -> None:
        assert psnr(clean + 0.1, clean).tolist() == pytest.approx([20.0] * len(clean), rel=1e-5)

    def test_own_mean_explains_nothing(self, clean: Tensor) -> None:
        means = clean.mean((2, 3), keepdim=True).expand_as(clean)
        assert variance_explained(means, clean).tolist() == pytest.approx([0.0] * 6, abs=1e-6)

    def test_worse_than_the_mean_is_below_0(self, clean: Tensor) -> None:
        assert (variance_explained(1 - clean, clean) < 0).all()

    @pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
    def test_constant_pictures_have_nothing_to_explain(self, value: float) -> None:
        constant = torch.full((2, 1, SIDE, SIDE), value)
        restored = constant.clone()
        restored[1, 0, 0, 0] += 0.1
        assert variance_explained(restored, constant).tolist() == [1.0, 0.0]
        assert pooled_variance_explained(restored, constant) == 0.0
        assert pooled_variance_explained(constant, constant) == 1.0
        assert ssim(constant, constant).tolist() == pytest.approx([1.0, 1.0])
        assert psnr(constant, constant).tolist() == [100.0, 100.0]

    def test_nearly_empty_slice_does_not_decide_the_pooled_share(self, clean: Tensor) -> None:
        with_empty = torch.cat([clean, torch.zeros(1, 1, SIDE, SIDE)])
        with_empty[-1, 0, 0, 0] = 0.01
        restored = with_empty + 0.01
        assert variance_explained(restored, with_empty)[-1] < -100
        assert pooled_variance_explained(restored, with_empty) > 0.99

    @pytest.mark.parametrize("figure", [psnr, variance_explained, pooled_variance_explained])
    def test_pictures_of_another_shape_are_refused(self, figure: Any, clean: Tensor) -> None:
        with pytest.raises(ValueError, match=r"pictures must be \[6, 1, 32, 32\]"):
            figure(clean.expand(-1, 3, -1, -1), clean)


class TestDegrade:
    @pytest.mark.parametrize("block", [1, 8])
    def test_leaves_its_share_with_mild_noise(self, block: int) -> None:
        images = smooth_pictures(2, side=128)
        degraded = degrade(images, 0.4, block)
        left = degraded.left
        assert left.double().mean((1, 2, 3)).tolist() == pytest.approx([0.4, 0.4], abs=0.005)
        assert (degraded.image[~left] == 0).all()
        noise = (degraded.image - images)[left]
        assert float(noise.std()) == pytest.approx(NOISE, rel=0.05)
        assert float(noise.mean()) == pytest.approx(0, abs=0.003)

    def test_blocks_are_left_whole(self, clean: Tensor) -> None:
        left = degrade(clean, 0.4, 8).left
        blocks = left.unfold(2, 8, 8).unfold(3, 8, 8).flatten(4)
        assert (blocks.all(-1) == blocks.any(-1)).all()

    @settings(deadline=None)
    @given(st.integers(1, 5), st.sampled_from([1, 8]))
    def test_a_slice_is_degraded_by_its_index_not_by_its_batch(self, cut: int, block: int) -> None:
        images = smooth_pictures()
        whole = degrade(images, 0.4, block).image
        parts = degrade(images[:cut], 0.4, block), degrade(images[cut:], 0.4, block, first=cut)
        assert torch.equal(torch.cat([part.image for part in parts]), whole)

    def test_slices_are_degraded_differently(self, clean: Tensor) -> None:
        same = clean[:1].expand(2, -1, -1, -1)
        degraded = degrade(same, 0.4)
        assert not torch.equal(degraded.left[0], degraded.left[1])

    def test_smaller_share_leaves_part_of_the_greater(self, clean: Tensor) -> None:
        few, many = degrade(clean, 0.2), degrade(clean, 0.7)
        assert (few.left <= many.left).all()
        assert torch.equal(few.image[few.left], many.image[few.left])

    def test_everything_left(self, clean: Tensor) -> None:
        assert degrade(clean, 1.0).left.all()

    def test_gives_plain_tensors(self, clean: Tensor) -> None:
        degraded = degrade(MetaTensor(clean), 0.4)
        assert type(degraded.image) is type(degraded.left) is Tensor


class TestRestore:
    def test_is_the_reconstruction_of_the_mean(self, clean: Tensor) -> None:
        model = tiny_model()
        with torch.no_grad():
            expected = model.decode(model.encode(clean)[0])
        torch.testing.assert_close(restore(model, clean), expected)

    def test_model_in_training_stays_in_training_and_as_it_was(self, clean: Tensor) -> None:
        model = tiny_model().train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        first, second = restore(model, clean), restore(model, clean)
        assert torch.equal(first, second)
        assert model.training
        assert not first.requires_grad
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    def test_three_channels_become_grey(self, clean: Tensor) -> None:
        model = tiny_model(out_channels=3)
        with torch.no_grad():
            expected = model(clean).mean(1, keepdim=True)
        torch.testing.assert_close(restore(model, clean), expected)


class TestHeldOutFigures:
    def test_each_is_what_its_function_says(self, clean: Tensor) -> None:
        model = tiny_model()
        figures = held_out_figures(model, clean)
        pictures = restore(model, clean)
        attempts = (restore(model, degrade(clean, 0.4, block).image) for block in (1, 8))
        shares = [pooled_variance_explained(attempt, clean) for attempt in attempts]
        expected = {
            "psnr": float(psnr(pictures, clean).mean()),
            "ssim": float(ssim(pictures, clean).mean()),
            "variance_explained": pooled_variance_explained(pictures, clean),
            "restoration_40": sum(shares) / 2,
        }
        assert {name: figures[name] for name in expected} == pytest.approx(expected, rel=1e-5)
        assert all(type(figure) is float for figure in figures.values())

    def test_do_not_depend_on_batches_or_the_state_of_the_model(self, clean: Tensor) -> None:
        model = tiny_model()
        first = held_out_figures(model, clean)
        second = held_out_figures(model.train(), MetaTensor(clean))
        assert model.training
        for figures in (first, second):
            assert figures.pop("images_per_second") > 0
        assert first == pytest.approx(second, rel=1e-5)

    def test_active_units_are_those_whose_mean_differs_between_slices(self) -> None:
        model = tiny_model()
        latent = model.latent.inward[-1]
        assert isinstance(latent, torch.nn.Linear)
        with torch.no_grad():
            latent.weight[2:].zero_()
            latent.weight[:2] *= 100
        images = torch.linspace(0, 1, 6).view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE)
        assert held_out_figures(model, images)["active_units"] == 2

    def test_fast_copy_of_a_model(self, clean: Tensor) -> None:
        model = tiny_model()
        slow, fast = held_out_figures(model, clean), held_out_figures(inference_copy(model), clean)
        for figures in (slow, fast):
            del figures["images_per_second"]
        assert fast == pytest.approx(slow, rel=1e-3)

    def test_constant_and_single_slices_give_finite_figures(self) -> None:
        figures = held_out_figures(tiny_model(), torch.zeros(1, 1, SIDE, SIDE))
        assert all(math.isfinite(figure) for figure in figures.values())
        assert figures["active_units"] == 0

    @pytest.mark.parametrize("shape", [(0, 1, SIDE, SIDE), (SIDE, SIDE), (2, 3, SIDE, SIDE)])
    def test_what_are_no_slices(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"images must be \[N, 1, H, W\]"):
            held_out_figures(tiny_model(), torch.zeros(shape))
