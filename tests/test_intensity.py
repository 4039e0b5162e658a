"""Native units to the model's and back: rules, round trips, and what users ask for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from numpy.typing import NDArray

from medvae.errors import UsageProblem
from medvae.geometry import Geometry
from medvae.intensity import (
    WINDOWS,
    full_range,
    intensity_for,
    intensity_rule,
    model_image,
    percentile,
    window,
    zscore,
)
from medvae.records import Pixels, Slice, Source

SPECS = ("window:40,400", "window:bone", "percentile:1,99", "zscore:2", "full")
SHAPES = stn.array_shapes(min_dims=2, max_dims=2, max_side=12)
NATIVE = st.floats(-3000, 3000, width=32)


def pixels_of(values: Any, padding: Any = None) -> Pixels:
    array = np.asarray(values, dtype=np.float32)
    mask = None if padding is None else np.asarray(padding, dtype=np.bool_)
    return Pixels(array, array, mask)


def slice_of(pixels: Pixels, modality: str | None = "MR", inverted: bool = False) -> Slice:
    rows, columns = pixels.values.shape
    return Slice(
        key="1",
        group="2",
        shape=(rows, columns),
        modality=modality,
        geometry=Geometry(),
        source=Source(Path("image.dcm"), "dicom"),
        load=lambda _: pixels,
        inverted=inverted,
    )


RAMP = pixels_of(np.linspace(-500, 1500, 400).reshape(20, 20))


class TestRules:
    def test_window_spans_its_width_around_its_centre(self) -> None:
        chosen = window(40, 400)
        assert (chosen.low, chosen.high) == (-160, 240)

    def test_full_range_is_that_of_the_image_not_of_its_integers(self) -> None:
        chosen = full_range(np.array([[7, 4095]], dtype=np.uint16))
        assert (chosen.low, chosen.high) == (7, 4095)

    def test_percentiles(self) -> None:
        chosen = percentile(np.arange(101.0), low=5, high=95)
        assert (chosen.low, chosen.high) == pytest.approx((5, 95))

    def test_zscore_is_symmetric_around_the_mean(self) -> None:
        chosen = zscore(np.array([8.0, 12.0]), spread=3)
        assert (chosen.low, chosen.high) == pytest.approx((4, 16))

    @pytest.mark.parametrize("rule", [full_range, percentile, zscore])
    def test_padding_does_not_count(self, rule: Any) -> None:
        image = np.arange(16.0).reshape(4, 4)
        padded = np.pad(image, 2, constant_values=-3024)
        padding = padded == -3024
        assert rule(padded, padding) == rule(image, None)

    @pytest.mark.parametrize("spec", SPECS)
    def test_nothing_but_padding_is_black(self, spec: str) -> None:
        padding = np.ones((3, 4), dtype=np.bool_)
        values = np.full((3, 4), -2000.0)
        assert not intensity_rule(spec)(values, padding).to_model(values, padding).any()

    def test_a_nearly_empty_slice_keeps_the_little_that_there_is(self) -> None:
        values = np.zeros((64, 64))
        values[30, 30:33] = (100, 200, 300)
        unit = percentile(values).to_model(values)
        assert unit[30, 30:33].tolist() == pytest.approx([1 / 3, 2 / 3, 1])

    @pytest.mark.parametrize("rule", [full_range, percentile, zscore])
    @given(value=NATIVE, change=st.floats(-1, 1, width=32))
    def test_a_constant_image_becomes_0_and_comes_back(
        self, rule: Any, value: float, change: float
    ) -> None:
        values = np.full((5, 7), value, dtype=np.float32)
        chosen = rule(values)
        before = chosen.to_model(values)
        assert not before.any()
        assert np.array_equal(chosen.from_model(before), values)
        assert np.array_equal(chosen.restore(values, before, before + change), values)


class TestByModality:
    @pytest.mark.parametrize(
        ("modality", "name"),
        [
            ("CT", "window:40,400"),
            ("MR", "percentile:0.5,99.5"),
            ("CR", "full"),
            ("DX", "full"),
            ("PT", "percentile:0.5,99.5"),
            (None, "percentile:0.5,99.5"),
        ],
    )
    def test_default(self, modality: str | None, name: str) -> None:
        assert intensity_for(slice_of(RAMP, modality), RAMP).name == name

    def test_the_user_overrides(self) -> None:
        assert intensity_for(slice_of(RAMP, "CT"), RAMP, "window:lung").name == "window:-600,1500"

    def test_inverted_slices_look_as_they_are_shown(self) -> None:
        upright = model_image(slice_of(RAMP, "DX"), RAMP)[0]
        inverted = model_image(slice_of(RAMP, "DX", inverted=True), RAMP)[0]
        assert inverted == pytest.approx(1 - upright, abs=1e-6)

    def test_padding_is_black_in_either_polarity(self) -> None:
        padding = np.zeros((20, 20), dtype=np.bool_)
        padding[:, :5] = True
        pixels = pixels_of(RAMP.values, padding)
        for inverted in (False, True):
            chosen = intensity_for(slice_of(pixels, "DX", inverted), pixels)
            assert not chosen.to_model(pixels.values, padding)[padding].any()


def ct(stored: Any, values: Any = None, kind: str = "dicom") -> tuple[Slice, Pixels]:
    """Return a CT slice of numbers as they are in a file of this format."""
    real = np.asarray(stored if values is None else values, dtype=np.float32)
    pixels = Pixels(np.asarray(stored), real)
    native = slice_of(pixels, "CT")
    return replace(native, source=Source(Path("image"), kind)), pixels


EIGHT = np.arange(0, 250, dtype=np.uint8).reshape(10, 25)


class TestNumbersThatAreNotHounsfield:
    @pytest.mark.parametrize(
        ("native", "pixels", "name"),
        [
            (*ct(EIGHT, kind="picture"), "window:127.5,255"),
            (*ct(EIGHT, kind="nifti"), "window:127.5,255"),
            (*ct(EIGHT), "window:127.5,255"),
            (*ct(np.zeros((4, 4), np.uint8), kind="picture"), "window:127.5,255"),
            (*ct(EIGHT.astype(np.int8), kind="itk"), "window:-0.5,255"),
            (*ct(EIGHT.astype(np.uint16) * 16, kind="picture"), "full"),
            (*ct(EIGHT / np.float32(255), kind="nifti"), "window:0.5,1"),
            (*ct(EIGHT.astype(np.uint16), EIGHT / 255, kind="picture"), "window:0.5,1"),
        ],
    )
    def test_their_whole_range_is_mapped(self, native: Slice, pixels: Pixels, name: str) -> None:
        assert intensity_for(native, pixels).name == name

    @pytest.mark.parametrize(
        ("native", "pixels"),
        [
            ct(EIGHT, EIGHT * 8.0 - 1000),
            ct(EIGHT.astype(np.uint16), kind="nifti"),
            ct(EIGHT.astype(np.int16), kind="nifti"),
            ct(EIGHT.astype(np.int32) - 100, kind="picture"),
            ct(np.zeros((4, 4), np.float32), kind="nifti"),
            ct(EIGHT.astype(np.uint16), EIGHT.astype(np.float32) - 1024),
        ],
    )
    def test_what_can_be_hounsfield_keeps_its_window(self, native: Slice, pixels: Pixels) -> None:
        assert intensity_for(native, pixels).name == "window:40,400"

    def test_pictures_of_other_modalities_and_wishes_of_the_user_stay(self) -> None:
        native, pixels = ct(EIGHT, kind="picture")
        assert intensity_for(native, pixels, "window:lung").name == "window:-600,1500"
        mr = replace(native, modality="MR")
        assert intensity_for(mr, pixels).name == "percentile:0.5,99.5"


class TestRoundTrip:
    @given(
        stored=stn.arrays(np.uint16, SHAPES),
        slope=st.floats(0.05, 20),
        intercept=st.floats(-2000, 2000),
        inverted=st.booleans(),
    )
    def test_stored_integers_come_back(
        self, stored: NDArray[Any], slope: float, intercept: float, inverted: bool
    ) -> None:
        pixels = pixels_of(stored * slope + intercept)
        chosen = intensity_for(slice_of(pixels, "DX", inverted), pixels)
        back = chosen.from_model(chosen.to_model(pixels.values))
        assert back.dtype == np.float32
        assert np.abs(back - pixels.values.astype(np.float64)).max() < slope / 2

    @given(
        values=stn.arrays(np.float32, SHAPES, elements=NATIVE),
        spec=st.sampled_from(SPECS),
        inverted=st.booleans(),
        data=st.data(),
    )
    def test_restore_changes_only_what_changed(
        self, values: NDArray[np.float32], spec: str, inverted: bool, data: st.DataObject
    ) -> None:
        padding = data.draw(stn.arrays(np.bool_, values.shape))
        changed = data.draw(stn.arrays(np.bool_, values.shape))
        pixels = pixels_of(values, padding)
        chosen = intensity_for(slice_of(pixels, "MR", inverted), pixels, spec)
        before = chosen.to_model(values, padding)
        assert before.dtype == np.float32
        assert before.min() >= 0
        assert before.max() <= 1
        after = np.where(changed, before / 2 + 0.25, before).astype(np.float32)
        restored = chosen.restore(values, before, after, padding)
        assert restored.dtype == np.float32
        moved = changed & ~padding
        assert np.array_equal(restored[~moved], values[~moved])
        wanted = values + chosen.from_model(after) - chosen.from_model(before)
        assert restored[moved] == pytest.approx(wanted[moved], rel=1e-5, abs=1e-2)

    def test_clipped_values_come_back_through_restore(self) -> None:
        values = np.array([[-1024, 40, 3071]], dtype=np.float32)
        chosen = window(40, 400)
        unit = chosen.to_model(values)
        assert unit.tolist() == [[0, 0.5, 1]]
        assert chosen.restore(values, unit, unit).tolist() == values.tolist()
        assert chosen.restore(values, unit, unit - 0.25).tolist() == [[-1124, -60, 2971]]


class TestSpecs:
    @pytest.mark.parametrize(
        ("spec", "low", "high"),
        [
            ("window:40,400", -160, 240),
            ("window:-600, 1500", -1350, 150),
            ("window:soft-tissue", -160, 240),
            ("window:lung", -1350, 150),
            ("window:bone", -500, 1300),
            ("window:brain", 0, 80),
            ("percentile:0,100", 0, 100),
            ("percentile:2.5,90", 2.5, 90),
            ("full", 0, 100),
        ],
    )
    def test_right(self, spec: str, low: float, high: float) -> None:
        chosen = intensity_rule(spec)(np.arange(101.0), None)
        assert (chosen.low, chosen.high) == pytest.approx((low, high))

    @pytest.mark.parametrize("spec", [*SPECS, *(f"window:{name}" for name in WINDOWS)])
    def test_the_name_of_a_map_leads_to_it_again(self, spec: str) -> None:
        chosen = intensity_rule(spec)(RAMP.values, None)
        assert intensity_rule(chosen.name)(RAMP.values, None) == chosen

    @pytest.mark.parametrize(
        ("spec", "wrong"),
        [
            ("", "unknown kind ''"),
            ("minmax", "unknown kind 'minmax'"),
            ("Window:40,400", "unknown kind 'Window'"),
            ("window", "window takes a centre and a width above 0, or one of soft-tissue, lung"),
            ("window:40", "window takes"),
            ("window:40,0", "window takes"),
            ("window:40,400,1", "window takes"),
            ("window:liver", "window takes"),
            ("window:nan,400", "window takes"),
            ("window:40,inf", "window takes"),
            ("percentile", "percentile takes two percentages, the lower first"),
            ("percentile:99,1", "percentile takes"),
            ("percentile:-1,99", "percentile takes"),
            ("percentile:1,101", "percentile takes"),
            ("percentile:lung", "percentile takes"),
            ("zscore:0", "zscore takes one number above 0"),
            ("zscore:1,2", "zscore takes"),
            ("full:3", "full takes no argument"),
            ("full\nwindow", "unknown kind"),
        ],
    )
    def test_wrong(self, spec: str, wrong: str) -> None:
        with pytest.raises(UsageProblem) as caught:
            intensity_rule(spec)
        message = str(caught.value)
        assert message.startswith(f"intensity {spec!r}: {wrong}")
        assert message.endswith(
            "choose from window:40,400, window:lung, percentile:1,99, zscore:3 and full"
        )
        assert "\n" not in message
