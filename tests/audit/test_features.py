"""Features of pictures, by a model, by weight files, or without either."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pools import pool
from scipy import ndimage

from medvae.auditing import Pool
from medvae.auditing._features import (
    encoder_features,
    extract,
    network_features,
    pixel_features,
)
from medvae.errors import ReadError, UsageProblem
from medvae.networks import EfficientNet
from tiny_networks import BUILDERS, pictures, plain_unit_variance, settle, slices_for

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


def test_a_weight_file_gives_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = settle(EfficientNet("b0").build(), pictures(4, 3, 64))
    torch.save(network.backbone.state_dict(), tmp_path / "weights.pth")
    networks = network_features([f"efficientnet-b0={tmp_path / 'weights.pth'}"])
    assert list(networks) == ["efficientnet-b0"]
    few = Pool(POOL.pictures[:2], POOL.groups[:2], POOL.keys[:2])
    found = extract(networks["efficientnet-b0"], few)
    assert found.shape == (2, 320)
    x = torch.nn.functional.interpolate(
        torch.from_numpy(few.batch(slice(0, 2)))[:, None], 224, mode="bilinear", antialias=True
    )
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        colours = (x - mean[:, None, None]) / spread[:, None, None]
        expected = network(colours).mean((2, 3)).numpy()
    assert found == pytest.approx(expected, abs=0.05 * float(np.abs(expected).max()))


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["inception=x.pth"], "NAME=FILE"),
        (["resnet152"], "NAME=FILE"),
        (["vgg11-bn=a.pth", "vgg11-bn=b.pth"], "is given twice"),
    ],
)
def test_wrong_extractors_are_refused(specs: list[str], message: str) -> None:
    with pytest.raises(UsageProblem, match=message):
        network_features(specs)


def test_a_missing_or_foreign_weight_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="there is no such weight file"):
        network_features([f"vgg11-bn={tmp_path / 'gone.pth'}"])
    torch.save({"features.0.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ReadError, match="does not fit the network"):
        network_features([f"vgg11-bn={tmp_path / 'other.pth'}"])
