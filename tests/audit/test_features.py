"""Features of pictures, by a model or without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pools import pool
from scipy import ndimage

from medvae.auditing import Pool
from medvae.auditing._features import encoder_features, extract, pixel_features
from tiny_networks import BUILDERS, plain_unit_variance, settle, slices_for

POOL = pool(range(3), slices=6, size=28)


def test_pixels_are_means_and_histograms() -> None:
    picture = ndimage.zoom(np.random.default_rng(0).random((8, 8)), 8, order=0).astype(np.float32)
    (found,) = pixel_features(picture[None])
    assert found.shape == (304,)
    levels, steps, bends = found[256:272], found[272:288], found[288:]
    assert levels == pytest.approx(np.histogram(picture, 16, (0, 1))[0] / picture.size)
    across, down = np.diff(picture, axis=1)[:-1], np.diff(picture, axis=0)[:, :-1]
    assert steps[0] == pytest.approx((np.hypot(across, down) < 1 / 255).mean())
    assert steps.sum() == pytest.approx(1)
    bend = np.abs(ndimage.laplace(picture)[1:-1, 1:-1] / 4)
    assert bends[0] == pytest.approx((bend < 1 / 255).mean())
    flat = np.full((1, 64, 64), 0.3, np.float32)
    assert pixel_features(flat)[0, :256] == pytest.approx(0.3)


def test_pixels_of_a_sharper_picture_have_larger_steps() -> None:
    sharp, blurred = (extract(pixel_features, pool(range(3), blur=blur)) for blur in (0, 1.0))
    large = slice(272 + 12, 288)
    assert sharp[:, large].sum(1).min() > 10 * blurred[:, large].sum(1).max()


def test_the_encoder_gives_posterior_means() -> None:
    model = plain_unit_variance()
    settle(model, slices_for(model, 4))
    told: list[tuple[str, int, int, str]] = []
    found = extract(
        encoder_features(model), POOL, "encoder", progress=lambda *done: told.append(done)
    )
    with torch.no_grad():
        mu, _ = model.encode(torch.from_numpy(POOL.batch(slice(0, 18)))[:, None])
    assert found == pytest.approx(mu.numpy(), abs=0.05 * float(mu.std()))
    stage = "Extracting features"
    assert told == [(stage, 16, 18, "encoder"), (stage, 18, 18, "encoder")]


def test_features_do_not_depend_on_the_other_slices() -> None:
    model = plain_unit_variance().eval()
    last = Pool(POOL.pictures[16:], POOL.groups[16:], POOL.keys[16:])
    for extractor in (encoder_features(model), pixel_features):
        assert np.array_equal(extract(extractor, POOL)[16:], extract(extractor, last))


def test_a_spatial_latent_is_averaged_unless_it_is_wanted_whole() -> None:
    model = BUILDERS["residual"]()
    settle(model, slices_for(model, 4))
    large = pool(range(2), slices=2, size=model.image_size)
    channels, rows, columns = model.latent_shape
    whole = extract(encoder_features(model, whole=True), large)
    assert whole.shape == (4, channels * rows * columns)
    fields = extract(encoder_features(model), large)
    assert fields.shape[1] == channels * min(rows, 4) * min(columns, 4)
    means = whole.reshape(4, channels, -1).mean(2)
    assert fields.reshape(4, channels, -1).mean(2) == pytest.approx(means, abs=1e-5)
