"""Samplers: strength 0, the same draw in any company, how draws are spread, what users ask for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medvae.errors import UsageProblem
from medvae.latent import (
    SAMPLERS,
    AlignSampler,
    DirectionSampler,
    Drawn,
    GaussianSampler,
    InterpolateSampler,
    Latents,
    LatentStatistics,
    Partner,
    PosteriorSampler,
    PriorSampler,
    Sampler,
    make_sampler,
)
from medvae.networks import ConvDecoder, GrayToColor, PlainEncoder, SliceVAE, SpatialLatent
from medvae.randomness import generator
from toy_sampler import Onwards

UNITS = 7
COUNT = 24
SPECS = (*(name for name in SAMPLERS if name != "direction"), "direction:1,3", "direction:2=-1.5")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def latents_of(mu: Tensor, logvar: Tensor | None = None, patients: int = 6) -> Latents:
    count = len(mu)
    findings: tuple[list[str], ...] = ([], ["cyst"], ["cyst", "glioma"])
    return Latents.of(
        [f"slice{index:04}" for index in range(count)],
        [f"patient{index % patients}" for index in range(count)],
        [findings[index // patients % 3] for index in range(count)],
        mu,
        torch.zeros_like(mu) if logvar is None else logvar,
    )


def statistics_of(latents: Latents) -> LatentStatistics:
    return LatentStatistics.of(latents.keys, latents.groups, latents.mu, latents.logvar)


SOURCES = latents_of(
    normal(COUNT, UNITS) * torch.arange(1, UNITS + 1), normal(COUNT, UNITS, seed=1)
)
STATISTICS = statistics_of(SOURCES)
TARGET = latents_of(normal(9, UNITS, seed=2) + 5)


def sampler_for(spec: str) -> Sampler:
    return make_sampler(spec, STATISTICS, SOURCES, TARGET)


def randoms_for(sources: Latents, seed: int = 0) -> list[np.random.Generator]:
    return [generator(seed, key) for key in sources.keys]


def draw(
    sampler: Sampler, sources: Latents, strength: float | Sequence[float] = 1.0, seed: int = 0
) -> Drawn:
    each = [strength] * len(sources) if isinstance(strength, int | float) else strength
    return sampler.sample(sources, each, randoms_for(sources, seed))


def many_draws(sampler: Sampler, index: int, strength: float, count: int = 20_000) -> Tensor:
    """Draw around one slice again and again."""
    random = generator(3, "many")
    source = SOURCES.take([index] * count)
    return sampler.sample(source, [strength] * count, [random] * count).z.double()


def bits(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


@pytest.mark.parametrize("spec", SPECS)
class TestContract:
    def test_strength_0_is_the_own_latent_to_the_last_bit(self, spec: str) -> None:
        mu = SOURCES.mu.clone()
        mu[0] = -0.0
        # Where nothing is added, it does not matter how wide a posterior is.
        sources = latents_of(mu, torch.full_like(mu, 700))
        assert bits(draw(sampler_for(spec), sources, 0).z) == bits(mu)

    def test_strength_1_moves_every_latent(self, spec: str) -> None:
        assert (draw(sampler_for(spec), SOURCES).z != SOURCES.mu).any(1).all()

    def test_the_sources_stay_as_they_are(self, spec: str) -> None:
        before = bits(SOURCES.mu)
        draw(sampler_for(spec), SOURCES).z.zero_()
        assert bits(SOURCES.mu) == before

    @settings(deadline=None, max_examples=25)
    @given(order=st.permutations(range(COUNT)), batch=st.integers(1, COUNT))
    def test_a_draw_depends_on_its_own_key_alone(
        self, spec: str, order: list[int], batch: int
    ) -> None:
        strengths = [index / COUNT for index in range(COUNT)]
        together = draw(sampler_for(spec), SOURCES, strengths)
        # The pool as it is when the studies are named in another order.
        sampler = make_sampler(spec, STATISTICS, SOURCES.take(order), TARGET.take(range(9)[::-1]))
        for start in range(0, COUNT, batch):
            places = order[start : start + batch]
            drawn = draw(sampler, SOURCES.take(places), [strengths[i] for i in places])
            assert bits(drawn.z) == bits(together.z[torch.tensor(places)])
            assert drawn.partners == tuple(together.partners[i] for i in places)

    def test_draws_of_many_units_do_not_depend_on_the_batch_either(self, spec: str) -> None:
        sources = latents_of(normal(40, 517), normal(40, 517, seed=1))
        sampler = make_sampler(spec, statistics_of(sources), sources, sources.take([3, 4]))
        together = draw(sampler, sources, 0.7).z
        for index in range(40):
            alone = draw(sampler, sources.take([index]), 0.7).z
            assert bits(alone[0]) == bits(together[index])

    def test_another_seed_draws_others(self, spec: str) -> None:
        same = spec.startswith(("align", "direction:2="))
        drawn = [draw(sampler_for(spec), SOURCES, seed=seed).z for seed in (0, 1)]
        assert torch.equal(*drawn) == same

    def test_only_interpolation_has_partners(self, spec: str) -> None:
        found = draw(sampler_for(spec), SOURCES).partners
        assert all((partner is not None) == (spec == "interpolate") for partner in found)

    def test_nothing_drawn_for_no_slices(self, spec: str) -> None:
        drawn = draw(sampler_for(spec), SOURCES.take([]))
        assert (drawn.z.shape, drawn.partners) == ((0, UNITS), ())

    @pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf")])
    def test_strength_out_of_range(self, spec: str, strength: float) -> None:
        with pytest.raises(UsageProblem, match=r"strength of [a-z]+ must be from 0 .*, but is"):
            draw(sampler_for(spec), SOURCES, strength)

    def test_as_many_strengths_and_generators_as_slices(self, spec: str) -> None:
        with pytest.raises(ValueError, match="each of 24 latents, but there are 1 and 24"):
            sampler_for(spec).sample(SOURCES, [1.0], randoms_for(SOURCES))
        with pytest.raises(ValueError, match="each of 24 latents, but there are 24 and 0"):
            sampler_for(spec).sample(SOURCES, [1.0] * COUNT, [])


@pytest.mark.parametrize("spec", ["gaussian", "interpolate", "direction:1", "align"])
def test_latents_of_another_model_are_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="units"):
        draw(sampler_for(spec), latents_of(normal(2, UNITS + 1)))


class TestPrior:
    def test_strength_1_is_the_draw_alone(self) -> None:
        expected = [generator(0, key).standard_normal(UNITS) for key in SOURCES.keys]
        drawn = draw(PriorSampler(), SOURCES).z
        assert torch.equal(drawn, torch.from_numpy(np.array(expected)).float())

    @pytest.mark.parametrize("strength", [0.2, 0.5, 0.8, 1])
    def test_latents_spread_as_the_prior_stay_so(self, strength: float) -> None:
        sources = latents_of(normal(20_000, 3))
        random = generator(4)
        drawn = PriorSampler().sample(sources, [strength] * 20_000, [random] * 20_000).z.numpy()
        np.testing.assert_allclose(drawn.mean(0), 0, atol=0.03)
        np.testing.assert_allclose(np.cov(drawn.T), np.eye(3), atol=0.05)

    def test_there_is_nothing_beyond_the_draw(self) -> None:
        with pytest.raises(UsageProblem, match="strength of prior must be from 0 to 1, but is 2"):
            draw(PriorSampler(), SOURCES, 2)


class TestPosterior:
    @pytest.mark.parametrize("strength", [0.5, 2.0])
    def test_draws_are_spread_as_the_slices_posterior(self, strength: float) -> None:
        drawn = many_draws(PosteriorSampler(), 4, strength).numpy()
        deviation = strength * np.exp(SOURCES.logvar[4].numpy() / 2)
        scaled = (drawn - SOURCES.mu[4].numpy()) / deviation
        np.testing.assert_allclose(scaled.mean(0), 0, atol=0.04)
        np.testing.assert_allclose(np.cov(scaled.T), np.eye(UNITS), atol=0.05)


class TestGaussian:
    @pytest.mark.parametrize("strength", [0.5, 2.0])
    def test_draws_are_spread_as_the_training_set(self, strength: float) -> None:
        drawn = many_draws(GaussianSampler(STATISTICS), 4, strength).numpy()
        expected = strength**2 * (STATISTICS.factor @ STATISTICS.factor.T).numpy()
        most = np.sqrt(expected.max())
        np.testing.assert_allclose(drawn.mean(0), SOURCES.mu[4].numpy(), atol=0.03 * most)
        np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.04 * most**2)

    def test_a_set_that_is_not_spread_moves_nothing(self) -> None:
        equal = latents_of(torch.ones(4, UNITS))
        assert torch.equal(draw(GaussianSampler(statistics_of(equal)), equal).z, equal.mu)


class TestInterpolate:
    def test_partner_is_another_patient_with_the_same_findings(self) -> None:
        places = {key: index for index, key in enumerate(SOURCES.keys)}
        for index, partner in enumerate(draw(InterpolateSampler(SOURCES), SOURCES).partners):
            assert partner is not None
            found = places[partner.key]
            assert partner.group == SOURCES.groups[found] != SOURCES.groups[index]
            assert SOURCES.kinds[found] == SOURCES.kinds[index]

    def test_on_the_straight_line_to_the_partner(self) -> None:
        whole = draw(InterpolateSampler(SOURCES), SOURCES)
        places = [SOURCES.keys.index(partner.key) for partner in whole.partners if partner]
        assert torch.equal(whole.z, SOURCES.mu[torch.tensor(places)])
        quarter = draw(InterpolateSampler(SOURCES), SOURCES, 0.25)
        torch.testing.assert_close(quarter.z, SOURCES.mu + 0.25 * (whole.z - SOURCES.mu))
        assert quarter.partners == whole.partners

    def test_each_of_the_8_nearest_is_drawn_as_often(self) -> None:
        pool = latents_of(torch.arange(40.0)[:, None], patients=40)
        pool = Latents(pool.keys, pool.groups, (frozenset(),) * 40, pool.mu, pool.logvar)
        sources = pool.take([0] * 4000)
        random = generator(5)
        drawn = InterpolateSampler(pool).sample(sources, [1.0] * 4000, [random] * 4000).z
        values, counts = drawn.unique(return_counts=True)
        assert values.tolist() == list(range(1, 9))
        assert 400 < counts.min()
        assert counts.max() < 600

    def test_no_such_slice_no_move_and_no_partner(self) -> None:
        sources = Latents.of(
            ["a", "b", "c", "d"],
            ["one", "one", "two", "three"],
            [["cyst"], ["cyst"], ["cyst", "glioma"], []],
            normal(4, UNITS),
            torch.zeros(4, UNITS),
        )
        drawn = draw(InterpolateSampler(sources), sources, 0.3)
        assert bits(drawn.z) == bits(sources.mu)
        assert drawn.partners == (None,) * 4

    def test_slices_without_findings_have_partners_without_findings(self) -> None:
        sources = Latents.of(
            ["a", "b", "c"],
            ["one", "two", "three"],
            [[], [], ["cyst"]],
            torch.tensor([[0.0], [9.0], [1.0]]),
            torch.zeros(3, 1),
        )
        found = draw(InterpolateSampler(sources), sources).partners
        assert found == (Partner("b", "two"), Partner("a", "one"), None)

    def test_there_is_nothing_beyond_the_neighbour(self) -> None:
        with pytest.raises(UsageProblem, match="strength of interpolate must be from 0 to 1"):
            draw(InterpolateSampler(SOURCES), SOURCES, 1.01)


class TestDirection:
    def test_given_amounts_are_standard_deviations_of_the_training_set(self) -> None:
        drawn = draw(DirectionSampler(STATISTICS, {1: -2, 3: 0.5}), SOURCES, 0.5).z
        moved = -1 * STATISTICS.factor[:, 0] + 0.25 * STATISTICS.factor[:, 2]
        torch.testing.assert_close(drawn - SOURCES.mu, moved.expand(COUNT, -1))

    def test_drawn_amounts_are_normal_and_leave_other_directions_alone(self) -> None:
        sampler = DirectionSampler(STATISTICS, {2: None, 4: None})
        moved = many_draws(sampler, 4, 1.0) - SOURCES.mu[4].double()
        directions = STATISTICS.factor.double()
        amounts = (moved @ directions / directions.square().sum(0)).numpy()
        expected = np.diag([0.0, 1, 0, 1, 0, 0, 0])
        np.testing.assert_allclose(amounts.mean(0), 0, atol=0.03)
        np.testing.assert_allclose(np.cov(amounts.T), expected, atol=0.03)

    def test_the_order_in_which_directions_are_named_does_not_matter(self) -> None:
        drawn = [draw(sampler_for(spec), SOURCES).z for spec in ("direction:3,1", "direction:1,3")]
        assert torch.equal(*drawn)

    def test_numbers_as_a_user_gives_them(self) -> None:
        given_ = draw(sampler_for("direction:1=-2,3=+.5"), SOURCES).z
        assert torch.equal(given_, draw(DirectionSampler(STATISTICS, {1: -2, 3: 0.5}), SOURCES).z)

    @pytest.mark.parametrize("number", ["0", "-1", "8"])
    def test_no_such_direction(self, number: str) -> None:
        with pytest.raises(UsageProblem, match=f"no direction {number}: .* spread in 7, counted"):
            sampler_for(f"direction:1,{number}")

    @pytest.mark.parametrize(
        "spec",
        ["direction", "direction:", "direction:x", "direction:1;3", "direction:1,", "direction:1=",
         "direction:1=nan", "direction:1.5", "direction:1=2=3"],
    )  # fmt: skip
    def test_no_numbers(self, spec: str) -> None:
        with pytest.raises(
            UsageProblem, match="is not understood; give directions, as in direction:1,3"
        ):
            sampler_for(spec)

    def test_one_direction_twice(self) -> None:
        with pytest.raises(UsageProblem, match="'direction:1,2,1=3' repeats direction 1"):
            sampler_for("direction:1,2,1=3")


class TestAlign:
    def test_at_strength_1_the_means_agree(self) -> None:
        drawn = draw(AlignSampler(SOURCES, TARGET), SOURCES).z
        torch.testing.assert_close(drawn.mean(0), TARGET.mu.mean(0))
        torch.testing.assert_close(drawn.T.cov(), SOURCES.mu.T.cov(), rtol=1e-4, atol=1e-4)

    def test_half_of_it(self) -> None:
        moved = draw(AlignSampler(SOURCES, TARGET), SOURCES, 0.5).z - SOURCES.mu
        expected = (TARGET.mu.mean(0) - SOURCES.mu.mean(0)) / 2
        torch.testing.assert_close(moved, expected.expand(COUNT, -1))

    def test_a_set_towards_itself_stays(self) -> None:
        assert torch.equal(draw(AlignSampler(SOURCES, SOURCES), SOURCES).z, SOURCES.mu)

    def test_the_order_of_the_slices_does_not_change_a_mean(self) -> None:
        # Added up in one order they give 0, in another 3.
        target = latents_of(torch.tensor([[3.0], [1e30], [-1e30]]))
        own = latents_of(torch.zeros(1, 1))
        shifts = [
            draw(AlignSampler(own, target.take(order)), own).z for order in ([0, 1, 2], [1, 2, 0])
        ]
        assert torch.equal(*shifts)

    def test_a_set_of_no_slices_has_no_mean(self) -> None:
        with pytest.raises(ValueError, match="there must be latents to take the mean of"):
            AlignSampler(SOURCES, TARGET.take([]))


class TestMaking:
    @pytest.mark.parametrize("name", SAMPLERS)
    def test_every_sampler_is_made_by_its_name(self, name: str) -> None:
        spec = "direction:1" if name == "direction" else name
        assert type(sampler_for(spec)) is SAMPLERS[name]

    @pytest.mark.parametrize("spec", ["warp", "", ":", "Prior", "warp:1"])
    def test_unknown_name(self, spec: str) -> None:
        names = "prior, posterior, gaussian, interpolate, direction, align"
        name = spec.partition(":")[0]
        with pytest.raises(UsageProblem, match=f"unknown sampler '{name}'; choose from {names}$"):
            sampler_for(spec)

    @pytest.mark.parametrize("spec", ["prior:1", "align:x", "interpolate:"])
    def test_surplus_argument(self, spec: str) -> None:
        with pytest.raises(UsageProblem, match="takes no argument"):
            sampler_for(spec)

    def test_nothing_to_align_to(self) -> None:
        with pytest.raises(
            UsageProblem, match="align_to: the sampler align requires slices to align to"
        ):
            make_sampler("align", STATISTICS, SOURCES)

    @pytest.mark.parametrize("name", ["interpolate", "align"])
    def test_pool_left_out(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"{name} needs the latents of all slices"):
            make_sampler(name, STATISTICS)

    @pytest.mark.parametrize("spec", ["prior", "posterior", "gaussian", "direction:1"])
    def test_others_need_no_pool(self, spec: str) -> None:
        assert make_sampler(spec, STATISTICS).name == spec.partition(":")[0]

    def test_one_more_takes_a_class_and_a_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(SAMPLERS, Onwards.name, Onwards)
        sampler = sampler_for("onwards")
        drawn = draw(sampler, SOURCES, 0.5)
        torch.testing.assert_close(drawn.z, SOURCES.mu * 1.5)


class TestLatents:
    def test_spatial_latents_of_a_model_are_drawn_as_vectors(self) -> None:
        model = SliceVAE(
            GrayToColor(),
            PlainEncoder((4, 8)),
            SpatialLatent(3),
            ConvDecoder((8, 4)),
            image_size=16,
        ).eval()
        with torch.no_grad():
            mu, logvar = model.encode(torch.rand(4, 1, 16, 16))
        names = [f"{index}" for index in range(4)]
        sources = Latents.of(names, names, [["cyst"]] * 4, mu.bfloat16(), logvar)
        assert sources.mu.shape == (4, 3 * 4 * 4)
        drawn = draw(PosteriorSampler(), sources).z.view(4, *model.latent_shape)
        assert model.decode(drawn).shape == (4, 1, 16, 16)

    def test_later_changes_to_the_tensors_do_not_reach_it(self) -> None:
        mu = normal(3, 2)
        latents = latents_of(mu)
        mu.zero_()
        assert (latents.mu != 0).all()

    def test_take_and_concat(self) -> None:
        parts = [SOURCES.take([4, 2, 2]), SOURCES.take([]), SOURCES.take([7])]
        joined, expected = Latents.concat(parts), SOURCES.take([4, 2, 2, 7])
        for name in ("keys", "groups", "kinds"):
            assert getattr(joined, name) == getattr(expected, name)
        assert joined.keys[1:] == (SOURCES.keys[2], SOURCES.keys[2], SOURCES.keys[7])
        assert torch.equal(joined.mu, SOURCES.mu[[4, 2, 2, 7]])
        assert torch.equal(joined.logvar, SOURCES.logvar[[4, 2, 2, 7]])

    @pytest.mark.parametrize(
        ("mu", "logvar", "message"),
        [
            (torch.zeros(2), torch.zeros(2), r"mu must be \[N, D\], but is \[2\]"),
            (torch.zeros(2, 0), torch.zeros(2, 0), r"mu must be \[N, D\], but is \[2, 0\]"),
            (torch.zeros(2, 3), torch.zeros(2, 4), r"logvar must be \[2, 3\], but is \[2, 4\]"),
            (torch.zeros(2, 3).double(), torch.zeros(2, 3), "mu must be float32 on the CPU, but"),
            (torch.zeros(2, 3), torch.zeros(2, 3, device="meta"), "logvar must be .* on meta"),
            (torch.full((2, 3), torch.nan), torch.zeros(2, 3), "mu must be finite"),
            (torch.zeros(2, 3), torch.full((2, 3), torch.inf), "logvar must be finite"),
            (torch.zeros(1, 3), torch.zeros(1, 3), "keys must be 1, one a latent, but are 2"),
        ],
    )
    def test_latents_that_cannot_be_right(self, mu: Tensor, logvar: Tensor, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Latents(("a", "b"), ("a", "b"), (frozenset(),) * 2, mu, logvar)

    def test_posteriors_of_one_slice_alone_are_no_set(self) -> None:
        with pytest.raises(ValueError, match=r"mu must be \[N, \*latent_shape\], but is \[3\]"):
            Latents.of(["a"], ["a"], [[]], torch.zeros(3), torch.zeros(3))
