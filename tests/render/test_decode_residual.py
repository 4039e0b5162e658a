"""Decoded slices, slices with a change added, and renders one after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from deformed import canvases, head, picture, scene
from hypothesis import given, settings
from hypothesis import strategies as st

from medvae.errors import UsageProblem
from medvae.geometry import Box
from medvae.intensity import Canvas, IntensityMap
from medvae.records import Category, Finding, Labels
from medvae.render import RENDERS, make_render

LABELS = Labels((Finding(Category("lesion"), Box(3.0, 4.0, 11.5, 9.25)),))
WINDOW = IntensityMap(-160, 240, "window:40,400")
UNHURRIED = settings(deadline=None, max_examples=30)


class TestDecode:
    @UNHURRIED
    @given(canvas=canvases(), seed=st.integers(0, 10**6))
    def test_it_is_the_decoded_picture_in_native_size_and_units(
        self, canvas: Canvas, seed: int
    ) -> None:
        padding = np.random.default_rng(seed).random(canvas.native) < 0.1
        values = np.full(canvas.native, -2000.0)
        item = scene(values, canvas, labels=LABELS, padding=padding, intensity=WINDOW)
        after = picture(seed, canvas.size, 4)
        (rendered,) = make_render("decode").render([item], picture(1, canvas.size, 4), after)
        expected = canvas.back(after[0, 0].numpy()) * 400 - 160
        assert rendered.values.dtype == np.float32
        assert rendered.values[~padding] == pytest.approx(expected[~padding], abs=1e-3)
        assert (rendered.values[padding] == -2000).all()
        assert rendered.labels == LABELS

    def test_half_precision_is_taken(self) -> None:
        item = scene(np.zeros((64, 64)))
        after = picture(1, 64, 4).bfloat16()
        (rendered,) = make_render("decode").render([item], after, after)
        assert np.array_equal(rendered.values, after[0, 0].float().numpy())


class TestResidual:
    @UNHURRIED
    @given(canvas=canvases(), seed=st.integers(0, 10**6))
    def test_it_adds_the_change(self, canvas: Canvas, seed: int) -> None:
        random = np.random.default_rng(seed)
        values = random.uniform(-1000, 1000, canvas.native).astype(np.float32)
        values[0, :2] = -3000, 3000
        padding = random.random(canvas.native) < 0.1
        padding[0, :2] = False
        item = scene(values, canvas, labels=LABELS, padding=padding, intensity=WINDOW)
        before, after = picture(seed, canvas.size, 4), picture(seed + 1, canvas.size, 4)
        (rendered,) = make_render("residual").render([item], before, after)
        change = canvas.back((after - before)[0, 0].numpy()) * 400
        expected = np.where(padding, values, (values + change).clip(min=-3000))
        assert rendered.values == pytest.approx(expected, abs=1e-3)
        assert np.array_equal(rendered.values[padding], values[padding])
        assert rendered.labels == LABELS

    @UNHURRIED
    @given(canvas=canvases(), seed=st.integers(0, 10**6))
    def test_nothing_changes_where_both_decode_to_the_same(self, canvas: Canvas, seed: int) -> None:
        values = np.random.default_rng(seed).integers(-2000, 3000, canvas.native)
        item = scene(values, canvas, labels=LABELS, intensity=WINDOW)
        decoded = picture(seed, canvas.size, 4)
        (rendered,) = make_render("residual").render([item], decoded, decoded.clone())
        assert np.array_equal(rendered.values, values)
        assert rendered.labels == LABELS

    def test_no_count_falls_below_the_source_s_least(self) -> None:
        item = scene(np.arange(4096).reshape(64, 64), intensity=IntensityMap(0, 4095, "full"))
        zeros = torch.zeros(1, 1, 64, 64)
        (rendered,) = make_render("residual").render([item], zeros + 0.5, zeros)
        assert rendered.values.min() == 0


class TestOneAfterTheOther:
    def test_the_residual_adds_all_that_the_warp_has_left(self) -> None:
        before, after = head(128, (60, 66), (40, 48)), head(128, (67, 62), (46, 41))
        spot = head(128, (70, 60), (6, 6)) * 0.2
        values = before[0, 0].numpy()
        item = scene(values, intensity=IntensityMap(0, 1, "full"))
        off = {}
        for name in ("warp", "warp+residual"):
            (rendered,) = make_render(name).render([item], before, after + spot)
            goal = (after + spot)[0, 0].numpy()
            # What is black in the slice is left so by the warp, and then by what follows it.
            off[name] = np.abs(rendered.values - goal)[goal > 0.3].mean()
        assert off["warp+residual"] < 0.1 * off["warp"]

    def test_labels_and_numbers_are_those_of_the_warp(self) -> None:
        item = scene(np.random.default_rng(1).random((64, 64)), labels=LABELS)
        before, after = picture(1, 64, 4), picture(2, 64, 4)
        (both,) = make_render("warp+residual").render([item], before, after)
        (warped,) = make_render("warp").render([item], before, after)
        assert both.labels == warped.labels != LABELS
        assert both.numbers == warped.numbers

    @pytest.mark.parametrize("name", ["warp+residual", "residual+warp"])
    def test_nothing_changes_where_both_decode_to_the_same(self, name: str) -> None:
        values = np.random.default_rng(1).integers(0, 4096, (64, 64))
        item = scene(values, labels=LABELS, intensity=WINDOW)
        decoded = picture(1, 64, 4)
        (rendered,) = make_render(name).render([item], decoded, decoded)
        assert np.array_equal(rendered.values, values)
        assert rendered.labels == LABELS

    def test_after_a_residual_there_is_nothing_left_to_warp(self) -> None:
        item = scene(np.random.default_rng(1).random((64, 64)), intensity=WINDOW)
        before, after = picture(1, 64, 4), picture(2, 64, 4)
        (both,) = make_render("residual+warp").render([item], before, after)
        (one,) = make_render("residual").render([item], before, after)
        assert np.array_equal(both.values, one.values)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "preserves"),
        [
            ("decode", True),
            ("residual", True),
            ("warp", False),
            ("warp+residual", False),
            ("residual+decode", True),
        ],
    )
    def test_a_render_is_called_as_it_was_asked_for(self, name: str, preserves: bool) -> None:
        render = make_render(name)
        assert render.name == name
        assert render.preserves_locations == preserves

    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ("melt", "unknown render 'melt'"),
            ("", "unknown render ''"),
            ("warp+", "unknown render ''"),
            ("transplant+warp", "unknown render 'transplant'"),
            ("warp+warp", "repeats a render"),
        ],
    )
    def test_others_are_refused_with_the_names(self, spec: str, said: str) -> None:
        with pytest.raises(UsageProblem, match=said) as problem:
            make_render(spec)
        assert all(name in str(problem.value) for name in RENDERS)
        assert len(str(problem.value).splitlines()) == 1
