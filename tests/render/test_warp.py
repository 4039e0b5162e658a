"""Warped slices: pixels, masks and boxes move alike, and what need not change does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from deformed import box_of, canvases, disc, head, pairs, picture, scene
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from medvae.geometry import Box
from medvae.intensity import Canvas, IntensityMap
from medvae.records import Category, Finding, Labels, Mask
from medvae.render import Render, Rendered, Scene, make_render
from medvae.render._moving import moved_labels, moved_values
from medvae.render._placement import NativeField, Placement
from medvae.render._registration import GRID
from scenes import changed

LESION = Category("lesion")
UNHURRIED = settings(deadline=None, max_examples=30)


@pytest.fixture(scope="module")
def warp() -> Render:
    return make_render("warp")


def alone(render: Render, item: Scene, before: Tensor, after: Tensor) -> Rendered:
    """Render one slice."""
    (rendered,) = render.render([item], before, after)
    return rendered


def with_mask(full: NDArray[np.bool_]) -> Finding:
    mask = Mask.of(full)
    assert mask is not None
    return Finding(LESION, mask.box, mask)


def squeezing(strength: float) -> Tensor:
    """Return a velocity ``[2, GRID, GRID]`` that draws the surroundings to the middle."""
    away = torch.arange(GRID) - (GRID - 1) / 2
    near = torch.exp(-0.5 * (away / 10) ** 2) * strength
    pull = near[:, None] * near * away
    return torch.stack((pull, pull.T))


class TestNothingChanges:
    @UNHURRIED
    @given(canvas=canvases(), seed=st.integers(0, 10**6))
    def test_where_both_decode_to_the_same(self, canvas: Canvas, seed: int) -> None:
        random = np.random.default_rng(seed)
        values = random.integers(-2000, 3000, canvas.native).astype(np.float32)
        full = random.random(canvas.native) < 0.3
        full[3, 4] = True
        labels = Labels((with_mask(full), Finding(LESION, Box(1.3, 2.7, 9.9, 8.1))))
        item = scene(values, canvas, labels=labels, padding=random.random(canvas.native) < 0.1)
        decoded = picture(seed, canvas.size, 3)
        rendered = alone(make_render("warp"), item, decoded, decoded.clone())
        assert np.array_equal(rendered.values, values)
        assert rendered.values.dtype == np.float32
        assert rendered.labels == labels
        assert rendered.numbers == {
            "least_jacobian": 1,
            "greatest_jacobian": 1,
            "mean_displacement_pixels": 0,
            "weakened": 0,
            "lost_findings": 0,
        }

    def test_beside_others_that_change(self, warp: Render) -> None:
        values = np.random.default_rng(1).integers(0, 4096, (64, 64)).astype(np.float32)
        before = torch.cat([picture(1, 64, 4), picture(2, 64, 4)])
        after = torch.cat([picture(1, 64, 4), picture(3, 64, 4)])
        still, moved = warp.render([scene(values)] * 2, before, after)
        assert np.array_equal(still.values, values)
        assert not np.array_equal(moved.values, values)

    def test_where_the_field_is_0(self) -> None:
        values = np.random.default_rng(1).random((112, 112)).astype(np.float32)
        flow = torch.zeros(2, GRID, GRID)
        flow[:, 40, 40] = 0.5
        field = NativeField(flow, Placement.of(Canvas((112, 112), (112, 112), 112), flow.device))
        moved = moved_values(scene(values), field)
        still = (field.displacement == 0).all(dim=0).numpy()
        assert still[:70].all()
        assert not still.all()
        assert np.array_equal(moved[still], values[still])
        assert not np.array_equal(moved, values)


class TestWhereThingsGo:
    @pytest.mark.parametrize("flip_rows", [False, True])
    @pytest.mark.parametrize("flip_columns", [False, True])
    @pytest.mark.parametrize(("native", "extent"), [((90, 120), (96, 128)), ((60, 180), (128, 96))])
    def test_a_disc_follows_the_decoded_picture(
        self,
        warp: Render,
        flip_rows: bool,
        flip_columns: bool,
        native: tuple[int, int],
        extent: tuple[int, int],
    ) -> None:
        canvas = Canvas(native, extent, 128, flip_rows, flip_columns)
        old, new = (58.0, 70.0), (70.0, 62.0)
        before, after = head(128, old, (22, 18)), head(128, new, (20, 24))
        values = canvas.back((before[0, 0].numpy() > 0.4).astype(np.float32)) * 1000
        full = values > 500
        item = scene(values, canvas, labels=Labels((with_mask(full),)))
        rendered = alone(warp, item, before, after)
        goal = canvas.boxes_back(np.array([[50.0, 38.0, 90.0, 86.0]]))[0]
        written = rendered.labels.findings[0].box
        assert written.iou(Box(*goal)) > 0.85
        assert box_of(full).iou(Box(*goal)) < 0.6
        assert box_of(rendered.values > 500).iou(written) > 0.9

    def test_a_flipped_slice_moves_as_its_picture_does(self, warp: Render) -> None:
        canvas = Canvas((80, 100), (102, 128), 128)
        values = canvas.back(picture(5, 128, 3)[0, 0].numpy())
        before, after = picture(1, 128, 8), picture(2, 128, 8)
        upright = alone(warp, scene(values, canvas), before, after).values
        flipped_canvas = replace(canvas, flip_rows=True, flip_columns=True)
        flipped = scene(values[::-1, ::-1], flipped_canvas)
        turned = alone(warp, flipped, before, after).values[::-1, ::-1]
        assert np.abs(turned - values).max() > 0.1
        assert turned == pytest.approx(upright, abs=1e-3)

    def test_most_of_the_change_is_explained(self, warp: Render) -> None:
        before, after = head(128, (60, 66), (40, 48)), head(128, (67, 62), (46, 41))
        # Without an intensity the warp is alone: there is nothing that could be added.
        item = scene(before[0, 0].numpy(), intensity=IntensityMap(0, 0, "full"))
        rendered = alone(warp, item, before, after)
        goal = after[0, 0].numpy()
        left = np.mean((rendered.values - goal) ** 2) / np.mean((item.values - goal) ** 2)
        assert left < 0.1

    def test_a_broad_change_of_intensity_is_added(self, warp: Render) -> None:
        decoded = head(128, (64, 64), (50, 50))
        values = 1000 + 400 * decoded[0, 0].numpy()
        item = scene(values, intensity=IntensityMap(1000, 1400, "window:1200,400"))
        rendered = alone(warp, item, decoded, decoded * 1.1)
        added = (rendered.values - item.values)[54:74, 54:74]
        assert added == pytest.approx(0.08 * 400, rel=0.1)

    def test_air_stays_air(self, warp: Render) -> None:
        before, after = picture(1, 64, 4), picture(2, 64, 4)
        values = np.full((64, 64), -1000.0)
        values[20:40, 20:40] = 100
        item = scene(values, intensity=IntensityMap(-160, 240, "window:40,400"))
        rendered = alone(warp, item, before, after)
        air = np.abs(rendered.values + 1000) < 0.01
        assert 0.6 < air.mean() < 0.95
        assert rendered.values[~air].max() > 100.1


class TestLabels:
    @UNHURRIED
    @given(pair=pairs(128, least=2), canvas=canvases(least=80), data=st.data())
    def test_a_disc_is_found_where_the_box_is(
        self, pair: tuple[Tensor, Tensor], canvas: Canvas, data: st.DataObject
    ) -> None:
        rows, columns = canvas.native
        radius = data.draw(st.floats(12, min(canvas.native) / 3), label="radius")
        centre = (
            data.draw(st.floats(radius + 3, columns - radius - 3), label="x"),
            data.draw(st.floats(radius + 3, rows - radius - 3), label="y"),
        )
        covered = disc(canvas.native, centre, radius)
        x, y = centre
        bare = Finding(LESION, Box(x - radius, y - radius, x + radius, y + radius))
        pixels = covered >= 0.5
        drawn = scene(1000 * covered, canvas, labels=Labels((bare,)))
        masked = scene(1000 * pixels, canvas, labels=Labels((with_mask(pixels),)))
        before, after = (picture.repeat(2, 1, 1, 1) for picture in pair)
        by_box, by_mask = make_render("warp").render([drawn, masked], before, after)
        found = box_of(by_mask.values > 500)
        (finding,) = by_mask.labels
        assert finding.mask is not None
        assert finding.box == finding.mask.box
        assert finding.box == pytest.approx(found, abs=1)
        # What is squeezed to a few pixels cannot be found more exactly than they are.
        assume(min(found[2] - found[0], found[3] - found[1]) >= 20)
        assert finding.box.iou(found) >= 0.9
        found = box_of(by_box.values > 500)
        (finding,) = by_box.labels
        assert finding.mask is None
        assert finding.box == pytest.approx(found, abs=1)
        assert finding.box.iou(found) >= 0.9

    def test_a_tilted_ellipse_gets_the_box_around_it(self) -> None:
        # Half a turn about the middle of the slice, an eighth of which is followed.
        away = torch.arange(GRID) - (GRID - 1) / 2
        turn = torch.stack((-away[:, None].expand(GRID, GRID), away.expand(GRID, GRID)))
        placement = Placement.of(Canvas((112, 112), (112, 112), 112), turn.device)
        field = NativeField(turn * (np.pi / 4), placement)
        labels, _ = moved_labels(Labels((Finding(LESION, Box(36, 51, 76, 61)),)), field, None)
        half = np.hypot(20, 5) / np.sqrt(2)
        assert labels.findings[0].box == pytest.approx(
            (56 - half, 56 - half, 56 + half, 56 + half), abs=0.2
        )

    def test_what_vanishes_is_left_out_and_counted(self) -> None:
        placement = Placement.of(Canvas((56, 56), (56, 56), 56), torch.device("cpu"))
        field = NativeField(squeezing(-0.5), placement)
        pixels = [np.s_[row, column] for row in range(15, 41) for column in range(15, 41)]
        findings = []
        for pixel in pixels:
            full = np.zeros((56, 56), dtype=np.bool_)
            full[pixel] = True
            findings.append(with_mask(full))
        left, lost = moved_labels(Labels(tuple(findings)), field, None)
        assert 0 < lost < len(findings)
        assert len(left) + lost == len(findings)
        for finding in left:
            assert finding.mask is not None
            assert finding.box == finding.mask.box
            assert finding.mask.area > 0

    def test_a_box_outside_the_slice_is_left_out(self) -> None:
        placement = Placement.of(Canvas((56, 56), (56, 56), 56), torch.device("cpu"))
        findings = (
            Finding(LESION, Box(60.0, 3.0, 70.0, 9.0)),
            Finding(LESION, Box(50.0, 3.0, 70.0, 9.0)),
        )
        left, lost = moved_labels(Labels(findings), NativeField(squeezing(0.2), placement), None)
        assert lost == 1
        assert left.findings[0].box[2] == 56

    @UNHURRIED
    @given(strength=st.floats(-0.4, 0.4), radius=st.floats(4, 14))
    def test_a_mask_keeps_the_area_that_the_field_gives_it(
        self, strength: float, radius: float
    ) -> None:
        shape = (224, 224)
        field = NativeField(
            squeezing(strength), Placement.of(Canvas(shape, shape, 224), torch.device("cpu"))
        )
        full = disc(shape, (120, 105), radius) >= 0.5
        (moved,), _ = moved_labels(Labels((with_mask(full),)), field, None)
        outline = np.linspace(0, 2 * np.pi, 720)
        reached = field.forward(
            np.stack((120 + radius * np.cos(outline), 105 + radius * np.sin(outline)), axis=1)
        )
        x, y = reached.T
        area = 0.5 * abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))
        assert moved.mask is not None
        assert moved.mask.area == pytest.approx(area, rel=0.05, abs=4 * np.sqrt(area))


class TestPadding:
    def round_field_of_view(self) -> tuple[Scene, NDArray[np.bool_]]:
        """Make a slice of 100 within a circle, padded with -2000, with one dark pixel inside."""
        padding = disc((128, 128), (64, 64), 60) < 0.5
        values = np.where(padding, -2000.0, 100.0)
        values[64, 64] = -1990
        return scene(values, padding=padding), padding

    def test_it_stays_and_does_not_bleed(self, warp: Render) -> None:
        item, padding = self.round_field_of_view()
        rendered = alone(warp, item, picture(1, 128, 6), picture(2, 128, 6))
        assert np.array_equal(rendered.values[padding], item.values[padding])
        rim = disc((128, 128), (64, 64), 50) < 0.5
        assert (rendered.values[rim & ~padding] > 98).all()
        assert rendered.numbers["mean_displacement_pixels"] > 1

    def test_no_mask_moves_in_it(self, warp: Render) -> None:
        item, padding = self.round_field_of_view()
        full = disc((128, 128), (24, 40), 15) >= 0.5
        item = changed(item, labels=Labels((with_mask(full),)))
        rendered = alone(warp, item, picture(1, 128, 6), picture(2, 128, 6))
        mask = rendered.labels.findings[0].mask
        assert mask is not None
        moved = mask.on((128, 128))
        assert np.array_equal(moved[padding], full[padding])
        assert not np.array_equal(moved, full)

    def test_a_slice_of_nothing_else_stays(self, warp: Render) -> None:
        item = scene(np.full((64, 64), -2000.0), padding=np.ones((64, 64), dtype=np.bool_))
        rendered = alone(warp, item, picture(1, 64, 6), picture(2, 64, 6))
        assert np.array_equal(rendered.values, item.values)


class TestValues:
    @UNHURRIED
    @given(pair=pairs(64), seed=st.integers(0, 10**6))
    def test_none_leaves_the_range_of_the_source_by_moving(
        self, pair: tuple[Tensor, Tensor], seed: int
    ) -> None:
        values = np.random.default_rng(seed).integers(3, 200, (64, 64))
        item = scene(values, intensity=IntensityMap(0, 0, "full"))
        rendered = alone(make_render("warp"), item, *pair)
        assert values.min() <= rendered.values.min() <= rendered.values.max() <= values.max()
        assert rendered.values.dtype == np.float32

    @pytest.mark.parametrize("native", [(1, 40), (40, 1), (1, 1), (2, 3), (700, 5)])
    def test_slices_of_any_shape(self, warp: Render, native: tuple[int, int]) -> None:
        scale = 64 / max(native)
        extent = (max(1, round(native[0] * scale)), max(1, round(native[1] * scale)))
        item = scene(np.random.default_rng(1).random(native), Canvas(native, extent, 64))
        rendered = alone(warp, item, picture(1, 64, 6), picture(2, 64, 6))
        assert rendered.values.shape == native
        assert np.isfinite(rendered.values).all()
        assert rendered.numbers["least_jacobian"] > 0

    def test_inverted_slices(self, warp: Render) -> None:
        before, after = head(64, (32, 32), (20, 20)), head(64, (32, 32), (24, 18))
        values = 100 + 50 * before[0, 0].numpy()
        bright = scene(values, intensity=IntensityMap(100, 150, "full"))
        dark = scene(-values, intensity=IntensityMap(-100, -150, "full"))
        one, other = (alone(warp, item, before, after).values for item in (bright, dark))
        assert other == pytest.approx(-one, abs=1e-3)

    def test_read_only_values_are_only_read(self, warp: Render) -> None:
        values = np.ones((64, 64), dtype=np.float32)
        values.flags.writeable = False
        alone(warp, scene(values), picture(1, 64, 6), picture(2, 64, 6))

    def test_pictures_of_another_size_are_refused(self, warp: Render) -> None:
        with pytest.raises(ValueError, match="must be 64 wide"):
            alone(warp, scene(np.ones((64, 64))), picture(1, 32, 2), picture(2, 32, 2))


class TestBatch:
    @pytest.mark.parametrize("name", ["decode", "residual", "warp", "warp+residual"])
    def test_each_is_as_if_it_were_alone(self, name: str) -> None:
        random = np.random.default_rng(1)
        canvases_of_all = [
            Canvas((64, 64), (64, 64), 64),
            Canvas((33, 47), (45, 64), 64, flip_rows=True),
            Canvas((150, 120), (64, 51), 64, flip_columns=True),
        ] * 3
        scenes = []
        for canvas in canvases_of_all:
            full = disc(canvas.native, (15, 14), 8) >= 0.5
            labels = Labels((with_mask(full), Finding(LESION, Box(4.0, 5.0, 20.0, 17.0))))
            scenes.append(
                scene(
                    random.random(canvas.native),
                    canvas,
                    labels=labels,
                    padding=random.random(canvas.native) < 0.01,
                )
            )
        before = torch.cat([picture(seed, 64, 3) for seed in range(9)])
        after = torch.cat([picture(seed, 64, 3) for seed in range(9, 18)])
        render = make_render(name)
        for i, together in enumerate(render.render(scenes, before, after)):
            single = alone(render, scenes[i], before[i : i + 1], after[i : i + 1])
            assert np.array_equal(single.values, together.values)
            assert single.labels == together.labels
            assert single.numbers == together.numbers

    def test_threads_change_nothing(self, warp: Render) -> None:
        item = scene(np.random.default_rng(1).random((300, 300)), Canvas((300, 300), (64, 64), 64))
        before, after = picture(1, 64, 3), picture(2, 64, 3)
        threads = torch.get_num_threads()
        try:
            results = []
            for count in (1, 2):
                torch.set_num_threads(count)
                results.append(alone(warp, item, before, after))
        finally:
            torch.set_num_threads(threads)
        assert np.array_equal(results[0].values, results[1].values)
        assert results[0].numbers == results[1].numbers
