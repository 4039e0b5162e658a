"""Statistics of latents: against numpy, through their files, and when the files are damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medvae.errors import ReadError, WriteError
from medvae.latent import LatentStatistics
from medvae.networks import ConvDecoder, GrayToColor, PlainEncoder, SliceVAE, SpatialLatent

KEYS = tuple(f"slice{index}" for index in range(12))
GROUPS = tuple(f"patient{index // 4}" for index in range(12))


def posterior(count: int = 12, units: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    mixed = torch.randn(units, units, generator=numbers)
    mu = torch.randn(count, units, generator=numbers) @ mixed + 3
    return mu, torch.randn(count, units, generator=numbers)


@pytest.fixture
def statistics() -> LatentStatistics:
    return LatentStatistics.of(KEYS, GROUPS, *posterior())


class TestFigures:
    def test_mean_and_covariance_are_those_of_numpy(self, statistics: LatentStatistics) -> None:
        mu = posterior()[0].double().numpy()
        covariance = (statistics.factor @ statistics.factor.T).numpy()
        np.testing.assert_allclose(statistics.mean.numpy(), mu.mean(0), rtol=1e-6)
        np.testing.assert_allclose(covariance, np.cov(mu, rowvar=False), rtol=1e-4, atol=1e-5)

    def test_posterior_scale_is_the_root_of_the_mean_variance(
        self, statistics: LatentStatistics
    ) -> None:
        deviations = np.exp(0.5 * posterior()[1].numpy())
        expected = np.sqrt((deviations**2).mean(0))
        np.testing.assert_allclose(statistics.posterior_scale.numpy(), expected, rtol=1e-6)

    def test_unit_variance_has_scale_1(self) -> None:
        mu, _ = posterior()
        statistics = LatentStatistics.of(KEYS, GROUPS, mu, torch.zeros_like(mu))
        assert statistics.posterior_scale.tolist() == [1.0] * 5

    @settings(deadline=None)
    @given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
    def test_covariance_for_any_number_of_slices_and_units(
        self, count: int, units: int, seed: int
    ) -> None:
        mu, logvar = posterior(count, units, seed)
        factor = LatentStatistics.of(KEYS[:count], GROUPS[:count], mu, logvar).factor
        centred = mu.double().numpy() - mu.double().numpy().mean(0)
        covariance = centred.T @ centred / max(count - 1, 1)
        assert factor.shape[1] <= min(count - 1, units)
        np.testing.assert_allclose((factor @ factor.T).numpy(), covariance, rtol=1e-3, atol=1e-4)

    def test_directions_come_widest_first_and_only_as_many_as_there_are(self) -> None:
        mu = torch.randn(12, 2, generator=torch.Generator().manual_seed(1)) @ torch.arange(
            12.0
        ).view(2, 6)
        factor = LatentStatistics.of(KEYS, GROUPS, mu, torch.zeros_like(mu)).factor
        widths = factor.norm(dim=0)
        # Rounding to float32 before the statistics are taken leaves traces of further directions.
        assert (widths[2:] < 1e-5 * widths[0]).all()
        assert (widths.diff() <= 0).all()

    def test_equal_latents_spread_in_no_direction(self) -> None:
        statistics = LatentStatistics.of(KEYS, GROUPS, torch.ones(12, 5), torch.zeros(12, 5))
        assert statistics.factor.shape == (5, 0)

    def test_draws_from_the_factor_are_spread_as_the_slices_are(
        self, statistics: LatentStatistics
    ) -> None:
        normal = torch.randn(
            statistics.factor.shape[1], 200_000, generator=torch.Generator().manual_seed(2)
        )
        drawn = statistics.mean[:, None] + statistics.factor @ normal
        expected = np.cov(posterior()[0].numpy(), rowvar=False)
        np.testing.assert_allclose(np.cov(drawn.numpy()), expected, atol=0.02 * expected.max())

    def test_spatial_latents_of_a_model_become_vectors(self) -> None:
        model = SliceVAE(
            GrayToColor(),
            PlainEncoder((4, 8)),
            SpatialLatent(3),
            ConvDecoder((8, 4)),
            image_size=16,
        ).eval()
        with torch.no_grad():
            mu, logvar = model.encode(torch.rand(12, 1, 16, 16))
        statistics = LatentStatistics.of(KEYS, GROUPS, mu, logvar)
        assert statistics.mu.shape == (12, 3 * 4 * 4)
        torch.testing.assert_close(statistics.mu.view(12, *model.latent_shape), mu)

    def test_low_precision_and_gradients_do_not_get_in(self) -> None:
        mu, logvar = (latents.bfloat16().requires_grad_() for latents in posterior())
        statistics = LatentStatistics.of(KEYS, GROUPS, mu, logvar)
        assert statistics.mu.dtype == torch.float32
        assert not statistics.factor.requires_grad

    def test_later_changes_to_the_latents_do_not_reach_it(self) -> None:
        mu, logvar = posterior()
        statistics = LatentStatistics.of(KEYS, GROUPS, mu, logvar)
        mu.zero_()
        assert (statistics.mu != 0).all()


class TestNames:
    def test_each_latent_keeps_its_slice_and_patient(self, statistics: LatentStatistics) -> None:
        assert statistics.keys == KEYS
        assert statistics.groups == GROUPS
        torch.testing.assert_close(statistics.mu, posterior()[0])

    @pytest.mark.parametrize(
        ("keys", "groups", "message"),
        [
            (KEYS[:-1], GROUPS, "keys must be 12, one a latent, but are 11"),
            (KEYS, (*GROUPS, "more"), "groups must be 12, one a latent, but are 13"),
        ],
    )
    def test_names_must_be_as_many_as_latents(
        self, keys: tuple[str, ...], groups: tuple[str, ...], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            LatentStatistics.of(keys, groups, *posterior())

    @pytest.mark.parametrize(
        ("mu", "logvar", "message"),
        [
            (torch.zeros(2, 5), torch.zeros(2, 4), r"must be \[N, \*latent_shape\]"),
            (torch.zeros(2), torch.zeros(2), r"must be \[N, \*latent_shape\]"),
            (torch.zeros(0, 5), torch.zeros(0, 5), r"mu must be \[N, D\], but is \[0, 5\]"),
            (torch.full((2, 5), torch.nan), torch.zeros(2, 5), "mu must be finite"),
            (torch.zeros(2, 5), torch.full((2, 5), 1e4), "posterior_scale must be finite"),
        ],
    )
    def test_latents_that_cannot_be_right(self, mu: Tensor, logvar: Tensor, message: str) -> None:
        names = KEYS[: len(mu)]
        with pytest.raises(ValueError, match=message):
            LatentStatistics.of(names, names, mu, logvar)


class TestFiles:
    def test_round_trip(self, statistics: LatentStatistics, tmp_path: Path) -> None:
        statistics.save(tmp_path / "models")
        loaded = LatentStatistics.load(tmp_path / "models")
        assert (loaded.keys, loaded.groups) == (KEYS, GROUPS)
        for name in ("mu", "posterior_scale", "mean", "factor"):
            assert torch.equal(getattr(loaded, name), getattr(statistics, name))

    def test_one_slice(self, tmp_path: Path) -> None:
        LatentStatistics.of(["a"], ["b"], torch.ones(1, 3), torch.zeros(1, 3)).save(tmp_path)
        assert LatentStatistics.load(tmp_path).factor.shape == (3, 0)

    def test_same_latents_give_the_same_bytes(self, tmp_path: Path) -> None:
        for folder in ("first", "second"):
            LatentStatistics.of(KEYS, GROUPS, *posterior()).save(tmp_path / folder)
        files = sorted(path.name for path in (tmp_path / "first").iterdir())
        assert files == ["latents.json", "latents.safetensors"]
        for name in files:
            first, second = (tmp_path / folder / name for folder in ("first", "second"))
            assert first.read_bytes() == second.read_bytes()

    def test_folder_that_cannot_be_written(
        self, statistics: LatentStatistics, tmp_path: Path
    ) -> None:
        (tmp_path / "models").write_text("a file where the folder should be")
        with pytest.raises(WriteError, match="cannot be written"):
            statistics.save(tmp_path / "models")


def drop_names(folder: Path) -> None:
    (folder / "latents.json").unlink()


def drop_tensors(folder: Path) -> None:
    (folder / "latents.safetensors").unlink()


def break_json(folder: Path) -> None:
    (folder / "latents.json").write_text("{")


def make_json_a_list(folder: Path) -> None:
    (folder / "latents.json").write_text("[]")


def nest_deeply(folder: Path) -> None:
    (folder / "latents.json").write_text('{"keys": ' + "[" * 100_000)


def make_json_a_folder(folder: Path) -> None:
    (folder / "latents.json").unlink()
    (folder / "latents.json").mkdir()


def make_tensors_a_folder(folder: Path) -> None:
    (folder / "latents.safetensors").unlink()
    (folder / "latents.safetensors").mkdir()


def say(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "latents.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def flip_a_bit(folder: Path) -> None:
    path = folder / "latents.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut_short(folder: Path) -> None:
    path = folder / "latents.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def mix_two_runs(folder: Path) -> None:
    other = folder / "other"
    LatentStatistics.of(KEYS, GROUPS, *posterior(seed=1)).save(other)
    (other / "latents.safetensors").replace(folder / "latents.safetensors")


def hold(**tensors: Tensor) -> Callable[[Path], None]:
    """Change tensors, by one who knows how to name the result in `latents.json`."""

    def damage(folder: Path) -> None:
        path = folder / "latents.safetensors"
        write_as_named(folder, safetensors.torch.save(safetensors.torch.load_file(path) | tensors))

    return damage


def hold_no_tensors(folder: Path) -> None:
    write_as_named(folder, b"not tensors")


def write_as_named(folder: Path, data: bytes) -> None:
    (folder / "latents.safetensors").write_bytes(data)
    say(sha256=hashlib.sha256(data).hexdigest())(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_names, "no latent statistics here, latents.json is missing"),
        (drop_tensors, "no latent statistics here, latents.safetensors is missing"),
        (break_json, "latents.json: cannot be read as JSON"),
        (make_json_a_list, "latents.json: must be a JSON object"),
        (nest_deeply, "latents.json: is nested too deeply"),
        (make_json_a_folder, "latents.json: cannot be read: Is a directory"),
        (make_tensors_a_folder, "latents.safetensors: cannot be read: Is a directory"),
        (say(format=2), "must describe latent statistics of format 1"),
        (say(keys="slice0"), "latents.json: 'keys' must be a list of strings, but is 'slice0'"),
        (say(groups=[1] * 12), "latents.json: 'groups' must be a list of strings"),
        (say(groups=None), "latents.json: 'groups' must be a list of strings"),
        (say(keys=list(KEYS[1:])), "keys must be 12, one a latent, but are 11"),
        (flip_a_bit, "is damaged, or was not written together with latents.json"),
        (cut_short, "is damaged, or was not written together with latents.json"),
        (mix_two_runs, "is damaged, or was not written together with latents.json"),
        (hold_no_tensors, "does not hold latent statistics"),
        (hold(surplus=torch.zeros(1)), "it must hold mu, posterior_scale, mean, factor"),
        (hold(mean=torch.zeros(4)), r"mean must be \[5\], but is \[4\]"),
        (hold(mean=torch.zeros(5).double()), "mean must be float32, but is torch.float64"),
        (hold(mean=torch.full((5,), torch.nan)), "mean must be finite"),
        (hold(mu=torch.zeros(12)), r"mu must be \[N, D\], but is \[12\]"),
        (hold(factor=torch.zeros(5)), r"factor must be \[D, r\], but is \[5\]"),
        (hold(factor=torch.zeros(4, 2)), r"factor must be \[5, 2\], but is \[4, 2\]"),
        (hold(factor=torch.zeros(5, 6)), "factor has 6 directions, too many"),
    ],
)
def test_damaged_files_are_refused_in_one_line(
    statistics: LatentStatistics, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    statistics.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ReadError, match=message) as refused:
        LatentStatistics.load(tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)
