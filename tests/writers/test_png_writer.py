"""PNG pictures: integers without loss, the way back to real units, and what names say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid as uids
from written import content, only_series, shifted, unchanged, write_png

from medvae.errors import WriteError
from medvae.intensity import intensity_for
from medvae.records import Series
from phantoms import dicom_slice, save_series


def series_of(folder: Path, *pictures: NDArray[Any], **attributes: Any) -> Series:
    datasets = (dicom_slice(i, pixels=p, **attributes) for i, p in enumerate(pictures))
    return only_series(save_series(folder / "One^Patient", datasets))


def noise(dtype: str) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    pixels = np.random.default_rng(0).integers(limits.min, limits.max, (9, 13), endpoint=True)
    pixels[0, :2] = limits.min, limits.max
    return pixels.astype(dtype)


def opened(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the integers of a picture, and the real units that its comment leads to."""
    with Image.open(path) as picture:
        integers = np.array(picture)
        words = picture.text["Comment"].split()
    assert words[:2] + words[3:6] == ["value", "=", "*", "pixel", "+"]
    return integers, float(words[2]) * integers + float(words[6])


class TestValues:
    @pytest.mark.parametrize(
        ("dtype", "kept", "offset"),
        [("uint8", "uint8", 0), ("uint16", "uint16", 0), ("int16", "uint16", 32768)],
    )
    def test_integers_lose_nothing(
        self, tmp_path: Path, dtype: str, kept: str, offset: int
    ) -> None:
        source = noise(dtype)
        series = series_of(tmp_path, source)
        (path,) = write_png(tmp_path / "out", series, unchanged(series))
        integers, values = opened(path)
        assert integers.dtype == kept
        np.testing.assert_array_equal(integers.astype(int), source.astype(int) + offset)
        np.testing.assert_array_equal(values, source)

    def test_real_units_come_back(self, tmp_path: Path) -> None:
        source = np.arange(120, dtype="int16").reshape(10, 12) - 60
        series = series_of(
            tmp_path,
            source,
            sop_class=uids.CTImageStorage,
            RescaleSlope=0.5,
            RescaleIntercept=-1024,
        )
        (path,) = write_png(tmp_path / "out", series, unchanged(series))
        np.testing.assert_allclose(opened(path)[1], source * 0.5 - 1024, rtol=1e-7)

    def test_new_values_go_to_the_nearest_integer_and_no_further(self, tmp_path: Path) -> None:
        source = np.array([[0, 100, 254], [255, 7, 9]], dtype="uint8")
        series = series_of(tmp_path, source)
        (path,) = write_png(tmp_path / "out", series, shifted(series, 1.4))
        assert opened(path)[0].tolist() == [[1, 101, 255], [255, 8, 10]]

    def test_float_is_spread_over_16_bits(self, tmp_path: Path) -> None:
        source = np.random.default_rng(0).normal(3, 200, (9, 13)).astype("float32")
        (tmp_path / "p1").mkdir()
        Image.fromarray(source).save(tmp_path / "p1" / "a.tiff")
        series = only_series(tmp_path)
        (path,) = write_png(tmp_path / "out", series, unchanged(series))
        integers, values = opened(path)
        assert (integers.min(), integers.max()) == (0, 65535)
        np.testing.assert_allclose(values, source, atol=0.51 * np.ptp(source) / 65535)

    def test_a_constant_float_slice(self, tmp_path: Path) -> None:
        (tmp_path / "p1").mkdir()
        Image.fromarray(np.full((4, 5), -2.5, "float32")).save(tmp_path / "p1" / "a.tiff")
        series = only_series(tmp_path)
        (path,) = write_png(tmp_path / "out", series, unchanged(series))
        assert (opened(path)[1] == -2.5).all()

    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    def test_what_is_shown_inverted_is_inverted(self, tmp_path: Path, dtype: str) -> None:
        source = noise(dtype)
        series = series_of(tmp_path, source, PhotometricInterpretation="MONOCHROME1")
        (path,) = write_png(tmp_path / "out", series, unchanged(series))
        integers, values = opened(path)
        np.testing.assert_array_equal(integers, np.iinfo(dtype).max - source)
        np.testing.assert_array_equal(values, source)
        again = only_series(tmp_path / "out").slices[0]
        seen = intensity_for(again, again.pixels(), "full").to_model(again.pixels().values)
        native = series.slices[0]
        expected = intensity_for(native, native.pixels(), "full").to_model(native.pixels().values)
        np.testing.assert_allclose(seen, expected, atol=1e-6)


class TestFiles:
    def test_stand_in_order_under_names_of_keys(self, tmp_path: Path) -> None:
        pictures = [np.full((4, 5), i, "uint8") for i in range(12)]
        series = series_of(tmp_path, *pictures)
        files = write_png(tmp_path / "out", series, unchanged(series))
        folder = tmp_path / "out" / series.key
        assert files == [
            folder / f"{place:02}_{native.key}.png" for place, native in enumerate(series.slices, 1)
        ]
        assert sorted(folder.iterdir()) == files
        again = only_series(tmp_path / "out")
        assert [int(item.pixels().stored[0, 0]) for item in again.slices] == [*range(12)]

    def test_of_a_part_are_numbered_from_its_place(self, tmp_path: Path) -> None:
        series = series_of(tmp_path, noise("uint8"))
        (path,) = write_png(tmp_path / "out", series, unchanged(series), place=12)
        assert path.name == f"0012_{series.slices[0].key}.png"

    def test_say_nothing_about_the_patient(self, tmp_path: Path) -> None:
        series = series_of(tmp_path, noise("uint16"))
        (path,) = write_png(tmp_path / "out", series, unchanged(series))
        for word in (b"patient", b"Patient", b"1.2.3", str(tmp_path).encode()):
            assert word not in content(path)

    def test_are_the_same_bytes_each_time(self, tmp_path: Path) -> None:
        series = series_of(tmp_path, noise("uint16"))
        (one,) = write_png(tmp_path / "1", series, unchanged(series))
        (other,) = write_png(tmp_path / "2", series, unchanged(series))
        assert one.read_bytes() == other.read_bytes()

    def test_cannot_be_written(self, tmp_path: Path) -> None:
        series = series_of(tmp_path, noise("uint8"))
        (tmp_path / "out").write_text("a file")
        with pytest.raises(WriteError, match="cannot be written"):
            write_png(tmp_path / "out", series, unchanged(series))
