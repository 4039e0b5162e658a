"""Gates: each rejects what it is for, and lets pass what is good."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_heads import (
    GLIOMA,
    SIDE,
    calibration,
    disc,
    draft_of,
    finding,
    gates,
    head,
    latents,
    scene_of,
    shifted,
    transplanted,
    warped,
    without_lesion,
)
from scipy import ndimage

from medvae.gates import GATES, Calibration, Draft, Limits, Patch
from medvae.geometry import Box
from medvae.records import Finding, Labels
from scenes import changed

SEEDS = range(4)
DEFAULTS = {name: one.default for gate in GATES.values() for name, one in gate.limits.items()}
MASKED = pytest.mark.parametrize("masked", [False, True], ids=["boxes", "masks"])


def reasons(judged: Draft, masked: bool = False) -> list[str]:
    verdicts = gates(masked).judge(judged)
    return [verdict.reason for verdict in verdicts if not verdict.passed]


def value(judged: Draft, measure: str, masked: bool = False) -> float:
    verdicts = gates(masked).judge(judged)
    (found,) = [verdict.value for verdict in verdicts if verdict.measure == measure]
    return found


@MASKED
class TestGood:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_deformed_slice_passes(self, seed: int, masked: bool) -> None:
        assert reasons(warped(head(seed, masked)[5], seed=seed), masked) == []

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_deformed_slice_without_a_lesion_passes(self, seed: int, masked: bool) -> None:
        judged = warped(head(seed, masked)[0], seed=seed)
        assert reasons(judged, masked) == []
        verdicts = gates(masked).judge(judged)
        assert {verdict.gate for verdict in verdicts} == {"labels", "field", "copy"}

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_turned_and_mirrored_transplant_passes(self, seed: int, masked: bool) -> None:
        judged = transplanted(head(seed, masked)[5], head(seed + 1, masked)[0])
        assert reasons(judged, masked) == []

    @pytest.mark.parametrize("share", [0.8, 1.3])
    def test_varied_contrast_passes(self, share: float, masked: bool) -> None:
        scene = head(0, masked)[5]
        varied = changed(scene, values=without_lesion(scene, share))
        judged = replace(warped(varied), scene=scene)
        assert reasons(judged, masked) == []
        assert value(judged, "contrast", masked) == pytest.approx(share, abs=0.1)


@MASKED
class TestLesion:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_one_that_is_gone_is_rejected(self, seed: int, masked: bool) -> None:
        scene = head(seed, masked)[5]
        found = reasons(draft_of(scene, without_lesion(scene)), masked)
        assert {"lesion: contrast too low", "lesion: visibility too low"} <= {*found}

    @pytest.mark.parametrize("seed", SEEDS)
    def test_one_that_is_blurred_away_is_rejected(self, seed: int, masked: bool) -> None:
        scene = head(seed, masked)[5]
        blurred = ndimage.gaussian_filter(scene.values, 16)
        assert "lesion: contrast too low" in reasons(draft_of(scene, blurred), masked)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_one_that_is_inverted_is_rejected(self, seed: int, masked: bool) -> None:
        scene = head(seed, masked)[5]
        judged = draft_of(scene, without_lesion(scene, share=-1))
        assert value(judged, "contrast", masked) < -0.5
        assert "lesion: similarity too low" in reasons(judged, masked)

    def test_one_that_is_much_too_bright_is_rejected(self, masked: bool) -> None:
        scene = head(0, masked)[5]
        judged = draft_of(scene, without_lesion(scene, share=3))
        assert "lesion: contrast too high" in reasons(judged, masked)

    @pytest.mark.parametrize(("x", "y"), [(0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)])
    def test_one_that_has_left_half_its_box_is_rejected(
        self, x: float, y: float, masked: bool
    ) -> None:
        for seed in SEEDS:
            good = warped(head(seed, masked)[5], seed=seed)
            (moved,) = good.rendered.labels
            width = moved.box.width
            wrong = Labels((shifted(moved, round(x * width), round(y * width)),))
            judged = replace(good, rendered=replace(good.rendered, labels=wrong))
            assert any(reason.startswith("lesion") for reason in reasons(judged, masked))

    def test_a_transplant_that_left_no_lesion_is_rejected(self, masked: bool) -> None:
        host = head(1, masked)[0]
        good = transplanted(head(0, masked)[5], host)
        judged = replace(good, rendered=replace(good.rendered, values=host.values))
        found = reasons(judged, masked)
        assert "lesion: contrast too low" in found
        assert "copy: change too low" in found

    def test_of_several_the_worst_is_judged(self, masked: bool) -> None:
        spots = [disc(40, 60, 9), disc(84, 60, 9)]
        values = head(0)[0].values + 250 * np.sum(spots, axis=0)
        scene = scene_of(values, *(finding(spot, masked) for spot in spots))
        gone = np.where(spots[1], values - 250, values)
        assert value(draft_of(scene, values), "contrast", masked) == pytest.approx(1)
        assert value(draft_of(scene, gone), "contrast", masked) < 0.3

    def test_one_that_could_hardly_be_seen_passes_as_it_is(self, masked: bool) -> None:
        scene = scene_of(head(0)[0].values, finding(disc(64, 64, 10), masked))
        verdicts = gates(masked).judge(draft_of(scene, scene.values))
        assert all(verdict.passed for verdict in verdicts if verdict.gate == "lesion")

    def test_one_that_fills_the_slice_is_not_compared_with_anything(self, masked: bool) -> None:
        everything = np.ones((SIDE, SIDE), dtype=np.bool_)
        scene = scene_of(head(0)[0].values, finding(everything, masked))
        verdicts = gates(masked).judge(draft_of(scene, scene.values))
        # The ellipse in a box has the corners of the box around it.
        assert ("lesion" in {verdict.gate for verdict in verdicts}) is not masked

    def test_padding_and_other_findings_are_not_its_surroundings(self, masked: bool) -> None:
        spots = [disc(50, 60, 9), disc(69, 60, 9)]
        found = [finding(spot, masked) for spot in spots]
        values = 500 + np.random.default_rng(0).normal(0, 20, (SIDE, SIDE))
        values[spots[0]] += 250
        alone = scene_of(values, found[0])
        padding = np.zeros((SIDE, SIDE), dtype=np.bool_)
        padding[:, :39] = True
        values = np.where(spots[1], 3000, np.where(padding, -2000, values)).astype(np.float32)
        crowded = changed(alone, values=values, padding=padding, labels=Labels(tuple(found)))
        patch, among_others = Patch.of(alone, found[0]), Patch.of(crowded, found[0])
        assert patch
        assert among_others
        assert 20 <= among_others.around.sum() < patch.around.sum()
        assert among_others.contrast == pytest.approx(patch.contrast, rel=0.1)
        assert among_others.noise == pytest.approx(patch.noise, rel=0.5)


@MASKED
class TestLabels:
    @pytest.mark.parametrize("by", [-90, 90])
    def test_a_box_beyond_the_slice_is_rejected(self, by: int, masked: bool) -> None:
        scene = head(0, masked)[5]
        moved = shifted(scene.labels.findings[0], by, 0)
        judged = draft_of(scene, scene.values, replace(moved, mask=None))
        assert "labels: room to the border too low" in reasons(judged, masked)

    def test_a_box_without_area_is_rejected(self, masked: bool) -> None:
        scene = head(0, masked)[5]
        judged = draft_of(scene, scene.values, Finding(GLIOMA, Box(60, 60, 60, 80)))
        assert "labels: side too low" in reasons(judged, masked)

    def test_a_lost_finding_is_rejected(self, masked: bool) -> None:
        scene = head(0, masked)[5]
        good = warped(scene)
        judged = replace(good, rendered=replace(good.rendered, labels=Labels()))
        assert reasons(judged, masked) == ["labels: number too low"]
        transplant = transplanted(scene, head(1, masked)[0])
        judged = replace(transplant, rendered=replace(transplant.rendered, labels=Labels()))
        assert "labels: number too low" in reasons(judged, masked)

    @pytest.mark.parametrize(("factor", "side"), [(0.5, "low"), (2, "high")])
    def test_a_box_of_another_size_is_rejected(
        self, factor: float, side: str, masked: bool
    ) -> None:
        scene = head(0, masked)[5]
        x0, y0, x1, y1 = scene.labels.findings[0].box
        box = Box(x0, y0, x0 + factor * (x1 - x0), y0 + factor * (y1 - y0))
        judged = draft_of(scene, scene.values, Finding(GLIOMA, box))
        assert f"labels: area too {side}" in reasons(judged, masked)
        assert value(judged, "area", masked) == pytest.approx(factor**2)

    def test_size_is_physical_where_spacing_is_known(self, masked: bool) -> None:
        donor, host = head(0, masked)[5], head(1, masked)[0]
        judged = transplanted(donor, host)
        finer = replace(judged, donor=changed(donor, spacing=(0.5, 0.5)))
        unknown = replace(judged, donor=changed(donor, spacing=None))
        area = value(judged, "area", masked)
        assert value(finer, "area", masked) == pytest.approx(9 * area)
        assert value(unknown, "area", masked) == pytest.approx(area)


class TestField:
    @pytest.mark.parametrize("least", [-0.2, 0.0, 0.05])
    def test_a_fold_is_rejected(self, least: float) -> None:
        good = warped(head(0)[5])
        rendered = replace(good.rendered, numbers={"least_jacobian": least})
        assert reasons(replace(good, rendered=rendered)) == ["field: least jacobian too low"]


class TestCopy:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_the_source_itself_is_rejected(self, seed: int) -> None:
        scene = head(seed)[5]
        judged = draft_of(scene, scene.values)
        assert reasons(judged) == ["copy: distance too low"]
        assert value(judged, "distance") == 0

    def test_a_noisy_and_a_brighter_source_is_rejected(self) -> None:
        scene = head(0)[5]
        noise = np.random.default_rng(0).normal(0, 10, (SIDE, SIDE))
        for values in (scene.values + noise, scene.values * 1.2):
            assert "copy: distance too low" in reasons(draft_of(scene, values))

    def test_another_real_slice_is_rejected(self) -> None:
        scene, other = head(0)[0], head(3)[11]
        judged = draft_of(scene, other.values)
        assert value(judged, "distance") < gates().limits["distance"]
        assert reasons(judged) == ["copy: distance too low"]

    def test_a_transplant_is_not_compared_with_its_host_as_a_whole(self) -> None:
        verdicts = gates().judge(transplanted(head(0)[5], head(1)[0]))
        assert [v.measure for v in verdicts if v.gate == "copy"] == ["change"]


class TestPlausibility:
    MU = torch.randn(60, 16, generator=torch.Generator().manual_seed(0))

    def test_a_latent_far_from_all_is_rejected(self) -> None:
        judge = calibration(range(2)).gates(latents(self.MU, 6)).judge
        judged = warped(head(0)[5])
        near, far, away = (
            judge(replace(judged, mu=mu))
            for mu in (self.MU[0], 20 * self.MU[0], 0.9 * self.MU[1].view(4, 2, 2))
        )
        assert near[-1].passed
        assert away[-1].passed
        assert far[-1].reason == "plausibility: remoteness too high"
        assert not far[-1].passed

    def test_its_limit_is_what_slices_have_to_other_patients(self) -> None:
        # Two patients far from each other: near its own, no slice says how far others may be.
        mu = self.MU.clone()
        mu[30:] += 50
        limits = calibration(range(2)).gates(latents(mu, 2)).limits
        assert limits.measured["remoteness"] == 60
        spread = mu.var(0).sum().sqrt()
        assert limits["remoteness"] == pytest.approx(float(200 / spread), rel=0.1)

    @pytest.mark.parametrize("mu", [MU[:1], MU[:1].expand(8, -1)], ids=["one", "all alike"])
    def test_says_nothing_where_latents_have_no_spread(self, mu: torch.Tensor) -> None:
        made = calibration([0]).gates(latents(mu.contiguous(), 1))
        verdicts = made.judge(replace(warped(head(0)[5]), mu=mu[0]))
        assert "plausibility" not in {verdict.gate for verdict in verdicts}

    def test_of_one_patient_the_limit_is_the_default(self) -> None:
        limits = calibration([0]).gates(latents(self.MU, 1)).limits
        assert limits["remoteness"] == DEFAULTS["remoteness"]
        assert "remoteness" not in limits.measured


class TestCalibration:
    def test_order_of_series_does_not_matter(self) -> None:
        seeds = list(range(6))
        one, other = calibration(seeds).gates(), calibration(seeds[::-1]).gates()
        assert one.limits == other.limits
        judged = [warped(head(0)[5]), draft_of(head(0)[5], head(4)[3].values)]
        assert list(map(one.judge, judged)) == list(map(other.judge, judged))

    def test_of_a_handful_of_slices_limits_are_defaults(self) -> None:
        limits = calibration([0]).gates().limits
        assert limits == Limits(DEFAULTS)
        verdicts = calibration([0]).gates().judge(warped(head(0)[5]))
        (contrast,) = [verdict for verdict in verdicts if verdict.measure == "contrast"]
        assert (contrast.low, contrast.high) == (1 / limits["contrast"], limits["contrast"])

    def test_limits_are_measured_where_there_is_enough(self) -> None:
        limits = gates().limits
        assert set(limits.measured) == {
            "contrast",
            "visibility",
            "similarity",
            "area",
            "distance",
            "change",
        }
        assert limits.measured["distance"] == 10 * 11
        assert limits.values != DEFAULTS

    def test_needs_a_slice(self) -> None:
        with pytest.raises(ValueError, match="one real slice"):
            Calibration().gates()

    def test_more_slices_can_follow(self) -> None:
        made = calibration(range(2))
        first = made.gates()
        new = head(5)[3]
        judged = draft_of(new, new.values)
        assert first.judge(judged)[-1].passed
        made.add("5", new, new.picture())
        assert not made.gates().judge(judged)[-1].passed


class TestGates:
    def test_a_candidate_is_judged_alike_alone_and_among_others(self) -> None:
        known = latents(torch.randn(500, 64, generator=torch.Generator().manual_seed(1)), 20)
        made = calibration(range(8)).gates(known)
        judge, decide = made.judge, made.decide
        many = [
            replace(warped(scene, seed=seed), mu=known.mu[seed] + 0.1 * index)
            for seed in range(6)
            for index, scene in enumerate(head(seed))
        ]
        together = [judge(one) for one in many]
        assert together[::-1] == [judge(one) for one in many[::-1]]
        assert [one.verdicts for one in decide(many)] == together
        assert decide([]) == []

    def test_the_limits_are_json_and_can_be_read_back(self) -> None:
        limits = gates().limits
        record = json.loads(json.dumps(limits.record()))
        assert Limits(measured=record.pop("measured"), values=record) == limits

    @pytest.mark.parametrize("index", [0, 5])
    def test_a_pixel_that_is_no_number_is_rejected(self, index: int) -> None:
        scene = head(0)[index]
        values = warped(scene).rendered.values.copy()
        values[10, 20] = math.nan
        judged = draft_of(scene, values)
        assert "copy: distance is not a number" in reasons(judged)
