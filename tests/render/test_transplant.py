"""A lesion in another slice: its size, its place, its level, its label, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from grafts import FIELD, Spot, body, lesion_of, moved, rendered, upright, with_padding
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

import medvae
from medvae.errors import DecodeError
from medvae.intensity import percentile, window
from medvae.labels import attach_labels
from medvae.randomness import generator
from medvae.records import Category, Finding, Labels, Slice
from medvae.render import (
    MOST_HOSTS,
    Ground,
    Lesion,
    Refused,
    Rendered,
    Scene,
    transplant,
    transplant_to_one,
)
from phantoms import SHARED, needs_shared
from scenes import changed

SHAPES = [(128, 128), (256, 256), (300, 200), (160, 256)]
FLIPS = list(product((False, True), repeat=2))
FIRST_HOSTS = MOST_HOSTS // 3
NOTCHED = Spot(height=22, width=14, notched=True)


def graft(donor: Scene, host: Scene, *key: int, strength: float = 0.0) -> Rendered | Refused:
    return transplant(lesion_of(donor), Ground.of(host), generator(0, *key), strength)


def reason(outcome: Rendered | Refused | Lesion) -> str:
    assert isinstance(outcome, Refused), outcome
    return outcome.reason


def made_in(lesion: Lesion, hosts: list[Ground], seed: int) -> Ground | None:
    """Return the host that takes a lesion, if one does."""
    made = transplant_to_one(lesion, hosts, lambda h: h, lambda n: generator(seed, n), 1.0)
    return None if isinstance(made, Refused) else made[0]


def millimetres(mask: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
    """Area of a mask over the whole field of view, and its centre from the middle of it."""
    sides = FIELD / np.array(mask.shape)
    centre = (np.array(ndimage.center_of_mass(mask)) + 0.5) * sides - FIELD / 2
    return float(mask.sum() * sides.prod()), centre


def unlike(result: Rendered, host: Scene) -> NDArray[np.bool_]:
    return np.asarray(result.values != host.values)


class TestUnvaried:
    def test_the_lesion_is_as_it_was_and_where_it_was(self) -> None:
        donor, host = body(NOTCHED, seed=1), body(seed=2)
        host = changed(host, intensity=donor.intensity)
        result = rendered(graft(donor, host))
        (finding,) = donor.labels
        assert result.labels == Labels((finding,))
        inside = moved(result)
        assert result.values[inside].mean() == pytest.approx(donor.values[inside].mean(), rel=0.01)
        texture = np.corrcoef(result.values[inside], donor.values[inside])[0, 1]
        assert texture > 0.98

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("flips", FLIPS)
    def test_size_place_and_side_are_physical(
        self, shape: tuple[int, int], flips: tuple[bool, bool]
    ) -> None:
        donor, host = body(NOTCHED, flips=(True, False)), body(shape=shape, flips=flips)
        area, centre = millimetres(upright(moved(rendered(graft(donor, host))), host))
        truth, middle = millimetres(upright(donor.labels.findings[0].mask.on((128, 128)), donor))
        assert area == pytest.approx(truth, rel=0.05)
        np.testing.assert_allclose(centre, middle, atol=0.5)
        shown = upright(moved(rendered(graft(donor, host))), host)
        expected = NOTCHED.mask(*((np.arange(n) + 0.5) / n * FIELD - FIELD / 2 for n in shape))
        assert (shown & expected).sum() / (shown | expected).sum() > 0.9

    def test_a_larger_field_of_view_shows_it_smaller(self) -> None:
        donor = body(Spot())
        near = body(shape=(256, 256))
        far = changed(near, spacing=(1.5, 1.5))
        small, large = (moved(rendered(graft(donor, host))).sum() for host in (far, near))
        assert small == pytest.approx(large / 4, rel=0.05)

    @pytest.mark.parametrize("which", ["donor", "host"])
    def test_with_an_unknown_spacing_it_keeps_its_share_of_the_canvas(self, which: str) -> None:
        donor = body(Spot(), known=which != "donor")
        host = changed(body(shape=(256, 256)), spacing=None if which == "host" else (3.0, 3.0))
        area = moved(rendered(graft(donor, host))).sum()
        assert area == pytest.approx(4 * donor.labels.findings[0].mask.area, rel=0.03)

    def test_a_box_alone_becomes_the_box_of_its_ellipse(self) -> None:
        donor = body(Spot(height=20, width=12), masked=False)
        (finding,) = rendered(graft(donor, body(shape=(256, 256)))).labels
        assert finding.mask is None
        np.testing.assert_allclose(finding.box, 2 * donor.labels.boxes[0], atol=1)

    def test_a_finer_donor_brings_no_more_noise(self) -> None:
        donor = body(Spot(), shape=(512, 512), noise=60.0)
        host = body(noise=0.0)
        inside = ndimage.binary_erosion(moved(rendered(graft(donor, host))), iterations=2)
        assert rendered(graft(donor, host)).values[inside].std() < 30


class TestVaried:
    @settings(max_examples=60, deadline=None)
    @given(
        key=st.integers(0, 2**32),
        strength=st.floats(0, 1.6),
        shape=st.sampled_from(SHAPES),
        flips=st.sampled_from(FLIPS),
        spot=st.builds(
            Spot,
            y=st.floats(-60, 60),
            x=st.floats(-60, 60),
            height=st.floats(3, 40),
            width=st.floats(3, 40),
            notched=st.booleans(),
        ),
    )
    def test_all_but_the_lesion_is_the_host(
        self,
        key: int,
        strength: float,
        shape: tuple[int, int],
        flips: tuple[bool, bool],
        spot: Spot,
    ) -> None:
        other = Spot(y=-40, x=-40, height=8, width=8)
        host = body(other, shape=shape, flips=flips)
        lesion = Lesion.on(body(spot), 0)
        if isinstance(lesion, Refused):
            return
        result = transplant(lesion, Ground.of(host), generator(key), strength)
        if isinstance(result, Refused):
            return
        kept, finding = result.labels
        assert kept == host.labels.findings[0]
        assert finding.mask is not None
        assert finding.box == finding.mask.box
        x0, y0, x1, y1 = finding.box
        assert 0 < x0 < x1 < shape[1]
        assert 0 < y0 < y1 < shape[0]
        assert ndimage.label(moved(result), np.ones((3, 3)))[1] == 1
        sides = FIELD / np.array(shape)
        away = ndimage.distance_transform_edt(~moved(result), sides)
        assert not unlike(result, host)[away > 4.5 * np.sqrt(2) * FIELD / 128].any()
        assert not unlike(result, host)[kept.mask.on(shape)].any()
        assert result.values.dtype == np.float32
        assert np.isfinite(result.values).all()
        assert all(np.isfinite(value) for value in result.numbers.values())

    def test_the_variation_is_that_of_the_recipe(self) -> None:
        donor, host = lesion_of(body(Spot(x=10, y=0))), Ground.of(body())
        results = [transplant(donor, host, generator(7, k), 1.0) for k in range(300)]
        numbers = [r.numbers for r in results if isinstance(r, Rendered)]
        assert len(numbers) > 250
        for name, least, most in [
            ("rotation", -0.6, 0.6),
            ("scale", 0.67, 1.42),
            ("aspect", 0.81, 1.23),
            ("contrast", 0.77, 1.29),
            ("mirror", 0, 1),
            ("across", 0, 1),
        ]:
            drawn = np.array([n[name] for n in numbers])
            span = most - least
            assert least <= drawn.min() < least + 0.1 * span, name
            assert most - 0.1 * span < drawn.max() <= most, name
        assert np.std([n["shift_right"] for n in numbers]) == pytest.approx(6 / 128, rel=0.15)

    def test_rotation_scale_and_mirror_are_what_the_numbers_say(self) -> None:
        spot = Spot(x=0, y=0, height=26, width=10)
        lesion, host = lesion_of(body(spot, shape=(256, 256))), Ground.of(body(shape=(256, 256)))
        for k in range(20):
            result = rendered(transplant(lesion, host, generator(3, k), 1.0))
            numbers, (y, x) = result.numbers, np.nonzero(moved(result))
            assert len(y) == pytest.approx(lesion_area(lesion) * numbers["scale"] ** 2, rel=0.08)
            spread = np.cov(y, x)
            angle = 0.5 * np.arctan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1])
            side = 1 if numbers["mirror"] else -1
            assert angle == pytest.approx(side * numbers["rotation"], abs=0.2)

    def test_it_goes_to_either_side_of_the_body(self) -> None:
        donor = lesion_of(body(Spot(x=40, y=0)))
        shifted = body()
        shifted = changed(shifted, values=np.roll(shifted.values, -6, axis=1))
        centres = []
        for k in range(40):
            result = transplant(donor, Ground.of(shifted), generator(1, k), 1.0)
            if isinstance(result, Rendered):
                _, (_, x) = millimetres(moved(result))
                side = -1 if result.numbers["across"] else 1
                centres.append((side, x - result.numbers["shift_right"] * FIELD))
        # The body's middle is 9 mm left of the picture's.
        for side, x in centres:
            assert x == pytest.approx(40 if side == 1 else -40 - 18, abs=3)
        assert {side for side, _ in centres} == {-1, 1}

    def test_the_same_key_gives_the_same_bytes(self) -> None:
        donor, host = body(NOTCHED), body(shape=(300, 200))
        first, again, other = (rendered(graft(donor, host, key, strength=0.5)) for key in (4, 4, 5))
        assert first.values.tobytes() == again.values.tobytes()
        assert (first.labels, first.numbers) == (again.labels, again.numbers)
        assert first.values.tobytes() != other.values.tobytes()


def lesion_area(lesion: Lesion) -> int:
    return int((lesion.sections[0].distance < 0).sum())


class TestLevel:
    def test_relative_units_are_scaled(self) -> None:
        donor, host = body(Spot(level=640), level=400), body(level=500)
        host = changed(host, intensity=donor.intensity)
        result = rendered(graft(donor, host))
        low = donor.intensity.low
        expected = 500 + (640 - 400) * (500 - low) / (400 - low)
        assert result.values[moved(result)].mean() == pytest.approx(expected, rel=0.02)
        assert result.numbers["level"] == pytest.approx((500 - low) / (400 - low), rel=0.02)
        assert result.numbers["contrast_kept"] == pytest.approx(1, abs=0.04)

    def test_each_slice_has_its_own_window(self) -> None:
        donor, host = body(Spot(level=640), level=400), body(level=4000, noise=40.0)
        result = rendered(graft(donor, host))
        assert result.numbers["contrast_kept"] == pytest.approx(1, abs=0.04)
        contrast = result.values[moved(result)].mean() / 4000
        assert contrast == pytest.approx(640 / 400, rel=0.04)

    def test_hounsfield_units_are_added(self) -> None:
        donor = body(Spot(level=90), level=50, absolute=True)
        host = body(level=110, absolute=True)
        result = rendered(graft(donor, host))
        assert result.values[moved(result)].mean() == pytest.approx(150, abs=2)
        assert result.numbers["level"] == pytest.approx(60, abs=2)

    def test_what_is_brighter_than_the_window_stays_so(self) -> None:
        donor = body(Spot(height=6, width=6, level=2000))
        donor = changed(donor, intensity=percentile(donor.values, None, 0.5, 95))
        assert donor.intensity.to_model(donor.values).max() == 1
        host = changed(body(), intensity=donor.intensity)
        result = rendered(graft(donor, host))
        assert result.values.max() == pytest.approx(2000, rel=0.03)

    def test_low_values_that_are_shown_bright_are_as_well_matched(self) -> None:
        donor, host = body(Spot(level=640)), body()
        mapped = replace(donor.intensity, low=1000.0, high=0.0)
        donor, host = changed(donor, intensity=mapped), changed(host, intensity=mapped)
        level = 1000 - host.values
        air = level > 900
        donor, host = (
            changed(scene, values=np.where(air, np.float32(995), scene.values))
            for scene in (donor, host)
        )
        result = rendered(graft(donor, host))
        assert result.values[moved(result)].mean() == pytest.approx(640, rel=0.02)

    def test_other_findings_are_no_surroundings(self) -> None:
        spot = Spot(height=8, width=8, level=700)
        oedema = Spot(height=13, width=13, level=550, category=Category("oedema"))
        alone, beset = body(spot), body(oedema, spot)
        beset = changed(beset, intensity=alone.intensity)
        host, random = Ground.of(changed(body(), intensity=alone.intensity)), generator(0)
        first = rendered(transplant(lesion_of(alone), host, random, 0))
        second = rendered(transplant(lesion_of(beset, 1), host, random, 0))
        assert second.numbers["level"] == pytest.approx(first.numbers["level"], rel=0.02)

    def test_a_small_lesion_keeps_its_contrast(self) -> None:
        donor = body(Spot(height=1.5, width=1.5), shape=(512, 512))
        result = rendered(graft(donor, body(shape=(512, 512))))
        assert result.numbers["contrast_kept"] > 0.9

    def test_the_local_level_of_the_host_is_followed_in_part(self) -> None:
        host = body(shape=(256, 256))
        slope = np.linspace(0.8, 1.2, 256, dtype=np.float32)
        host = changed(host, values=host.values * slope)
        donor = body(Spot(x=0, y=0, height=8, width=8), shape=(256, 256))
        inside = rendered(graft(donor, host))
        y, x = np.nonzero(moved(inside))
        left, right = (inside.values[y[half], x[half]].mean() for half in (x < 124, x > 132))
        assert right > left + 1


class TestWhereItMayLie:
    def test_a_nodule_of_the_lung_stays_in_the_lung(self) -> None:
        lungs = [Spot(x=x, y=0, height=45, width=28, level=-850) for x in (-38, 38)]
        nodule = Spot(x=40, y=5, height=6, width=6, level=30)
        donor = body(*lungs, nodule, level=50, noise=20, absolute=True)
        donor = changed(donor, labels=Labels(donor.labels.findings[2:]))
        chest = changed(body(*lungs, level=50, noise=20, absolute=True), labels=Labels())
        lesion, ground = lesion_of(donor), Ground.of(chest)
        results = [transplant(lesion, ground, generator(2, k), 1.0) for k in range(60)]
        kept = [r for r in results if isinstance(r, Rendered)]
        assert 20 < len(kept) < 60
        for result in kept:
            assert chest.values[moved(result)].mean() < -750
            assert result.values[moved(result)].mean() > -300
        belly = body(level=50, noise=20, absolute=True)
        assert reason(graft(donor, belly)) == "not in tissue"
        # Air has about the level of the lung, but there is no lung in it.
        air = changed(belly, values=np.full_like(belly.values, -1000))
        assert reason(graft(donor, air)) == "not in tissue"

    def test_neither_dark_bone_nor_bright_fat_is_covered(self) -> None:
        donor, head = body(Spot(x=60, y=0)), body()
        assert isinstance(graft(donor, head), Rendered)
        y, x = (np.arange(128) + 0.5) * 1.5 - 96, (np.arange(128) + 0.5) * 1.5 - 96
        out = np.hypot(y[:, None], x)
        for level in (60, 900):
            shell = np.where((out > 62) & (out < 70), np.float32(level), head.values)
            assert reason(graft(donor, changed(head, values=shell))) == "not in tissue"

    def test_padding_stays_and_is_no_tissue(self) -> None:
        donor, host = body(Spot()), body()
        padding = np.zeros((128, 128), dtype=np.bool_)
        padding[:, 96:] = True
        assert reason(graft(donor, with_padding(host, padding))) == "not in tissue"
        padding[:, :101] = False
        padded = with_padding(host, padding)
        result = rendered(graft(donor, padded))
        assert (result.values[padding] == -2000).all()

    def test_an_empty_slice_has_no_tissue(self) -> None:
        host = body()
        blank = np.zeros_like(host.values)
        empty = changed(host, values=blank, intensity=percentile(blank))
        assert reason(graft(body(Spot()), empty)) == "not in tissue"

    def test_a_finding_of_the_host_is_not_covered(self) -> None:
        touching = body(Spot(x=35 + 17, height=4, width=4))
        for masked in (touching, body(Spot(x=35 + 17, height=4, width=4), masked=False)):
            assert reason(graft(body(Spot()), masked)) == "on another finding"

    def test_it_is_not_cut(self) -> None:
        filled = np.full((128, 128), 400, dtype=np.float32)
        host = changed(body(), values=filled, intensity=window(500, 1000))
        lesion = lesion_of(body(Spot(x=60, y=0)))
        outcomes = [transplant(lesion, Ground.of(host), generator(0, k), 4.0) for k in range(60)]
        assert {o.reason for o in outcomes if isinstance(o, Refused)} == {"at the border"}

    def test_it_must_be_seen(self) -> None:
        donor = body(Spot(height=5, width=5), shape=(512, 512))
        assert reason(graft(donor, body(shape=(48, 48)))) == "too small"
        assert reason(Lesion.on(body(Spot(height=1, width=1)), 0)) == "lesion too small"

    def test_a_thin_bridge_may_not_break(self) -> None:
        donor = body(Spot(x=15), Spot(x=53), shape=(512, 512))
        bridged = np.zeros((512, 512), dtype=np.bool_)
        for finding in donor.labels:
            assert finding.mask is not None
            bridged |= finding.mask.on((512, 512))
        bridged[np.nonzero(bridged)[0].min() + 40, 300:400] = True
        mask = medvae.records.Mask.of(bridged)
        assert mask is not None
        joined = changed(donor, labels=Labels((Finding(Category("glioma"), mask.box, mask),)))
        outcomes = [graft(joined, body(shape=(100, 100)), k, strength=0.5) for k in range(20)]
        assert "in pieces" in {o.reason for o in outcomes if isinstance(o, Refused)}

    def test_a_donor_at_the_border_may_be_cut_already(self) -> None:
        filled = body(Spot(x=85, y=0))
        assert reason(Lesion.on(filled, 0)) == "lesion cut by the border"

    def test_a_lesion_in_nothing_has_no_surroundings(self) -> None:
        donor = body(Spot())
        values = np.where(donor.labels.findings[0].mask.on((128, 128)), 700, 0)
        bare = changed(donor, values=values.astype(np.float32), intensity=window(500, 1000))
        assert reason(Lesion.on(bare, 0)) == "lesion without surroundings"

    def test_units_must_be_alike(self) -> None:
        with pytest.raises(ValueError, match="absolute"):
            graft(body(Spot()), body(absolute=True, level=50))


class TestDarkSlices:
    """A window that is fixed, or one for a whole series, leaves some slices dark."""

    def test_their_tissue_is_that_of_bright_ones(self) -> None:
        bright = body(Spot(), seed=1)
        dark = changed(bright, values=bright.values * np.float32(0.1))
        assert (Ground.of(dark).inside == Ground.of(bright).inside).mean() > 0.99

    def test_the_noise_of_air_is_no_tissue(self) -> None:
        noise = np.random.default_rng(0).normal(10, 3, (128, 128)).astype(np.float32)
        assert not Ground.of(changed(body(), values=noise)).inside.any()

    def test_they_take_lesions(self) -> None:
        donor, host = (
            changed(one, values=one.values * np.float32(0.1))
            for one in (body(Spot(), seed=1), body(seed=2))
        )
        assert moved(rendered(graft(donor, host))).sum() == pytest.approx(
            moved(rendered(graft(body(Spot(), seed=1), body(seed=2)))).sum(), rel=0.02
        )


class TestOneOfSeveralHosts:
    def test_those_that_cannot_be_decoded_are_passed_over(self) -> None:
        hosts = {"good": Ground.of(body(seed=2)), "bad": None}

        def ground(name: str) -> Ground:
            found = hosts[name]
            if found is None:
                raise DecodeError("truncated")
            return found

        lesion = lesion_of(body(Spot(), seed=1))
        made = {
            seed: transplant_to_one(
                lesion, sorted(hosts), ground, lambda n, seed=seed: generator(seed, n), 1.0
            )
            for seed in range(8)
        }
        assert {one[0] for one in made.values() if not isinstance(one, Refused)} == {"good"}
        only_bad = transplant_to_one(lesion, ["bad"], ground, lambda n: generator(0, n), 1.0)
        assert reason(only_bad) == "no host can be decoded: truncated"

    def test_further_ones_are_taken_where_the_first_have_no_room(self) -> None:
        lesion, full = lesion_of(body(Spot(), seed=1)), Ground.of(body(seed=2))
        empty = Ground.of(changed(full.scene, values=np.zeros_like(full.scene.values)))
        hosts = [empty] * FIRST_HOSTS + [full] * FIRST_HOSTS
        assert {made_in(lesion, hosts, seed) for seed in range(4)} == {full}
        assert made_in(lesion, [empty] * MOST_HOSTS + [full], 0) is None

    def test_where_the_first_have_room_none_goes_further(self) -> None:
        lesion, first = lesion_of(body(Spot(), seed=1)), Ground.of(body(seed=2))
        hosts = [first] * FIRST_HOSTS + [Ground.of(body(seed=3))] * 16
        assert {made_in(lesion, hosts, seed) for seed in range(8)} == {first}

    def test_where_none_has_room_it_says_why(self) -> None:
        lesion, empty = lesion_of(body(Spot())), Ground.of(body())
        empty = Ground.of(changed(empty.scene, values=np.zeros_like(empty.scene.values)))
        made = transplant_to_one(lesion, [empty], lambda one: one, lambda n: generator(0, n), 1.0)
        assert reason(made) == "not in tissue"


@pytest.fixture(scope="module")
def patients() -> tuple[list[Slice], list[Slice]]:
    """Slices with masks of lesions, and slices without lesions."""
    folder = SHARED / "lgg_flair"
    studies = medvae.open_studies([folder / "images"]).studies
    boxed = [
        s for study in attach_labels(studies, folder / "coco.json").studies for s in study.slices
    ]
    masked = [s for study in attach_labels(studies, folder / "masks").studies for s in study.slices]
    return [s for s in masked if s.labels], [s for s in boxed if s.labels == Labels()]


def scene_of(item: Slice) -> Scene:
    return Scene.of(item, item.pixels(), 224, None)


@pytest.mark.slow
@needs_shared
def test_real_lesions_find_a_place_and_keep_their_contrast(
    patients: tuple[list[Slice], list[Slice]],
) -> None:
    positive, negative = patients
    random = np.random.default_rng(0)
    tries, numbers = 0, []
    for item in random.choice(np.array(positive, dtype=object), 60, replace=False):
        donor = scene_of(item)
        lesion = Lesion.on(donor, int(random.integers(len(donor.labels))))
        if isinstance(lesion, Refused):
            continue
        for other in random.choice(np.array(negative, dtype=object), 2):
            ground = Ground.of(scene_of(other))
            for k in range(3):
                tries += 1
                result = transplant(lesion, ground, generator(0, item.key, other.key, k), 1.0)
                if isinstance(result, Rendered):
                    numbers.append(result.numbers)
                    assert (unlike(result, ground.scene) <= (result.values > -1)).all()
    assert 0.1 < len(numbers) / tries < 0.6
    kept = np.array([n["contrast_kept"] / n["contrast"] for n in numbers])
    assert np.median(kept) == pytest.approx(1, abs=0.05)
    assert np.percentile(kept, 5) > 0.8
