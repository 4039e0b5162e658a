"""NIfTI volumes: every voxel at its source's place, exact values, regular grids only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import axcodes2ornt, ornt_transform
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid as uids
from written import (
    TO_LPS,
    assert_in_place,
    assert_no_form,
    content,
    only_series,
    shifted,
    unchanged,
    write_nifti,
)

from medvae.errors import WriteError
from medvae.intensity import model_image
from medvae.readers import open_studies
from medvae.records import Series
from phantoms import dicom_slice, save_series, world_of_pixels

SHAPE = (6, 7, 5)
SIZES = (1.5, 1.25, 4.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)


def volume(dtype: str = "int16") -> NDArray[Any]:
    return np.random.default_rng(0).integers(-500, 500, SHAPE).astype(dtype)


def dicom_series(folder: Path, count: int = 4, **attributes: Any) -> Series:
    """Save a series that runs along its normal, 2.5 mm from slice to slice, and read it."""
    axes = attributes.setdefault("ImageOrientationPatient", [1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    normal = np.cross(axes[:3], axes[3:])
    datasets = (
        dicom_slice(
            i, ImagePositionPatient=[*(np.array([-5.0, 7.0, 3.0]) + 2.5 * i * normal)], **attributes
        )
        for i in range(count)
    )
    return only_series(save_series(folder / "One^Patient", datasets))


def at(folder: Path, *positions: tuple[float, float, float]) -> Series:
    """Save an axial series with slices at these positions, and read it."""
    datasets = (dicom_slice(i, ImagePositionPatient=[*place]) for i, place in enumerate(positions))
    return only_series(save_series(folder / "in", datasets))


class TestPlaces:
    @pytest.mark.parametrize("code", ["RAS", "LPS", "LAI", "PIR", "SLA", "IPL", "ARS"])
    def test_of_nifti_in_any_orientation(self, tmp_path: Path, code: str) -> None:
        canonical = nibabel.Nifti1Image(volume(), np.diag([*SIZES, 1]))
        turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(code))
        nibabel.save(canonical.as_reoriented(turn), tmp_path / "a.nii.gz")
        series = only_series(tmp_path)
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        assert_in_place(nibabel.load(path), series)

    def test_of_an_oblique_volume(self, tmp_path: Path) -> None:
        affine = np.eye(4)
        affine[:3, :3] = nibabel.eulerangles.euler2mat(0.2, -0.3, 0.4) @ np.diag(SIZES)
        affine[:3, 3] = (-90, 120, -70)
        nibabel.save(nibabel.Nifti1Image(volume("float32"), affine), tmp_path / "a.nii")
        series = only_series(tmp_path)
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        image = nibabel.load(path)
        assert_in_place(image, series)
        np.testing.assert_allclose(image.header.get_qform(), image.affine, atol=1e-4)

    @pytest.mark.parametrize("axes", [(1.0, 0, 0, 0, 1.0, 0), (0, 1.0, 0, 0, 0, -1.0), OBLIQUE])
    def test_of_dicom(self, tmp_path: Path, axes: tuple[float, ...]) -> None:
        series = dicom_series(tmp_path, ImageOrientationPatient=[*axes])
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        assert_in_place(nibabel.load(path), series)

    def test_in_itk(self, tmp_path: Path) -> None:
        series = dicom_series(
            tmp_path,
            ImageOrientationPatient=[*OBLIQUE],
            sop_class=uids.CTImageStorage,
            RescaleSlope=1,
            RescaleIntercept=-1024,
        )
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        image = sitk.ReadImage(str(path))
        assert image.GetSpacing() == pytest.approx((0.75, 0.5, 2.5), abs=1e-5)
        values = sitk.GetArrayFromImage(image)
        for place, item in enumerate(series.slices):
            np.testing.assert_array_equal(values[place], item.pixels().values)
            corner = image.TransformIndexToPhysicalPoint((11, 9, place))
            assert corner == pytest.approx(world_of_pixels(item)[9, 11], abs=1e-4)

    def test_when_read_again(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path, ImageOrientationPatient=[*OBLIQUE])
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        again = only_series(path)
        assert again.flags == ()
        for item, source in zip(again.slices, series.slices, strict=True):
            places = world_of_pixels(item)
            np.testing.assert_allclose(places, world_of_pixels(source), atol=1e-4)
            np.testing.assert_array_equal(item.pixels().stored, source.pixels().stored)

    def test_slices_stay_slices_of_an_isotropic_volume(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(volume(), np.eye(4))
        image.header.set_dim_info(slice=0)
        nibabel.save(image, tmp_path / "a.nii")
        series = only_series(tmp_path)
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        assert [s.shape for s in only_series(path).slices] == [s.shape for s in series.slices]

    def test_a_single_slice_is_as_thick_as_it_says(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path, count=1, SliceThickness=6.0)
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        assert nibabel.load(path).header.get_zooms() == pytest.approx((0.75, 0.5, 6.0))


class TestParts:
    """What lies on no single grid becomes several volumes, and every slice is in one of them."""

    @pytest.mark.parametrize(
        ("heights", "sizes"),
        [
            ((0, 2, 4, 8, 10), [3, 2]),
            ((0, 4, 6, 8), [1, 3]),
            ((0, 2, 4.1, 6.2, 8.2), [2, 1, 2]),
            ((0, 3.333, 6.667, 10, 13.333), [5]),
            ((0, 0.3, 0.61, 0.9), [4]),
            ((0, 5), [2]),
        ],
    )
    def test_of_a_series(
        self, tmp_path: Path, heights: tuple[float, ...], sizes: list[int]
    ) -> None:
        series = at(tmp_path, *((-5.0, 7.0, float(z)) for z in heights))
        files = write_nifti(tmp_path / "out", series, unchanged(series))
        assert [nibabel.load(path).shape[2] for path in files] == sizes
        start = 0
        for path, size in zip(files, sizes, strict=True):
            found = only_series(path).slices
            expected = series.slices[start : start + size]
            for item, source in zip(found, expected, strict=True):
                gap = np.abs(world_of_pixels(item) - world_of_pixels(source)).max()
                assert gap <= 0.01
                np.testing.assert_array_equal(item.pixels().stored, source.pixels().stored)
            start += size
        assert start == len(series.slices)

    def test_of_a_tilted_series_are_its_slices(self, tmp_path: Path) -> None:
        series = at(tmp_path, *((-5.0, 7.0 + i, 2.0 * i) for i in range(11)))
        assert series.flags[0].startswith("tilt")
        files = write_nifti(tmp_path / "out", series, unchanged(series))
        assert [path.name for path in files] == [
            f"{series.key}_{i:02}of11.nii.gz" for i in range(1, 12)
        ]
        for path, item in zip(files, series.slices, strict=True):
            image = nibabel.load(path)
            assert_in_place(image, replace(series, slices=(item,)))
            assert image.header.get_zooms()[2] == 2.0

    def test_small_shifts_do_not_add_up(self, tmp_path: Path) -> None:
        series = at(tmp_path, *((-5.0, 7.0 + 0.01 * i, 2.0 * i) for i in range(20)))
        assert series.flags == ()
        files = write_nifti(tmp_path / "out", series, unchanged(series))
        found = [item for path in files for item in only_series(path).slices]
        for item, source in zip(found, series.slices, strict=True):
            off = np.abs(world_of_pixels(item) - world_of_pixels(source)).max()
            assert off < 0.11 * 0.5
        assert 1 < len(files) < 20

    def test_that_are_written_one_by_one(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path)
        files = write_nifti(
            tmp_path / "out",
            replace(series, slices=series.slices[2:]),
            unchanged(series)[2:],
            place=3,
        )
        assert files == [
            tmp_path / "out" / series.key / f"000{i + 1}_{series.slices[i].key}.nii.gz"
            for i in (2, 3)
        ]
        for path, item in zip(files, series.slices[2:], strict=True):
            assert_in_place(nibabel.load(path), replace(series, slices=(item,)))

    def test_sheared_slices_are_refused(self, tmp_path: Path) -> None:
        affine = np.diag([1.0, 1.0, 3.0, 1.0])
        affine[0, 1] = 0.3
        nibabel.save(nibabel.Nifti1Image(volume(), affine), tmp_path / "a.nii")
        series = only_series(tmp_path)
        with pytest.raises(WriteError, match="not at right angles") as caught:
            write_nifti(tmp_path / "out", series, unchanged(series))
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()


class TestUnknownPlace:
    def test_of_pictures(self, tmp_path: Path) -> None:
        (tmp_path / "p1").mkdir()
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 255, (9, 13)).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / "p1" / f"{i}.png")
        series = only_series(tmp_path)
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        assert_no_form(path)
        header = nibabel.load(path).header
        assert header["descrip"] == b"written by medvae; place in the patient unknown"
        assert header.get_zooms() == (1, 1, 1)
        again = only_series(path)
        assert again.flags == ("no orientation in the header (neither sform nor qform)",)
        first_voxels = nibabel.load(path).get_fdata()[..., 0]
        np.testing.assert_array_equal(first_voxels[:, ::-1].T, series.slices[0].pixels().values)
        for item, source in zip(again.slices[::-1], series.slices, strict=True):
            shown, _, _ = model_image(item, item.pixels(), 32)
            expected, _, _ = model_image(source, source.pixels(), 32)
            np.testing.assert_array_equal(shown, expected)

    def test_of_a_radiograph(self, tmp_path: Path) -> None:
        series = dicom_series(
            tmp_path,
            count=1,
            sop_class=uids.DigitalXRayImageStorageForPresentation,
            Modality="DX",
            ImageOrientationPatient=[2.0, 0, 0, 0, 1, 0],
            SliceThickness=None,
            PhotometricInterpretation="MONOCHROME1",
        )
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        assert_no_form(path)
        header = nibabel.load(path).header
        assert header.get_zooms() == pytest.approx((0.75, 0.5, 1))
        assert header["descrip"].item().endswith(b"low values are shown bright")


class TestValues:
    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
    def test_type_and_scale_are_kept_where_exact(self, tmp_path: Path, dtype: str) -> None:
        voxels = (volume() % 200).astype(dtype)
        image = nibabel.Nifti1Image(voxels, np.diag([*SIZES, 1]))
        if "int" in dtype:
            image.header.set_slope_inter(0.5, -10)
        nibabel.save(image, tmp_path / "a.nii")
        series = only_series(tmp_path)
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        written = nibabel.load(path)
        assert written.get_data_dtype() == ("float32" if "float" in dtype else dtype)
        np.testing.assert_array_equal(
            written.get_fdata(dtype=np.float32),
            nibabel.load(tmp_path / "a.nii").get_fdata(dtype=np.float32),
        )

    def test_values_between_the_integers_become_float(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path)
        (path,) = write_nifti(tmp_path / "out", series, shifted(series, 0.25))
        image = nibabel.load(path)
        assert image.get_data_dtype() == np.float32
        expected = series.slices[1].pixels().values + 0.25
        np.testing.assert_array_equal(image.get_fdata()[..., 1].T, expected)

    def test_slices_with_scales_of_their_own_become_float(self, tmp_path: Path) -> None:
        datasets = (dicom_slice(i, RescaleSlope=1 + i, RescaleIntercept=0) for i in range(3))
        series = only_series(save_series(tmp_path / "in", datasets))
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        image = nibabel.load(path)
        assert image.get_data_dtype() == np.float32
        assert_in_place(image, series)


class TestFiles:
    def test_say_nothing_about_the_patient(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path)
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        assert path == tmp_path / "out" / f"{series.key}.nii.gz"
        data = content(path)
        for word in (b"patient one", b"Patient", b"1.2.3", str(tmp_path).encode()):
            assert word not in data
        assert path.read_bytes()[3:8] == bytes(5)  # neither a name nor a time in gzip's header

    def test_are_the_same_bytes_each_time(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path)
        (one,) = write_nifti(tmp_path / "1", series, shifted(series, 0.1))
        (other,) = write_nifti(tmp_path / "2", series, shifted(series, 0.1))
        assert one.read_bytes() == other.read_bytes()

    def test_are_whole_to_the_standard(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path)
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        assert nibabel.Nifti1Image.load(path).header.diagnose_binaryblock(content(path)[:348]) == ""
        (report,) = open_studies([path]).files
        assert report.outcome == "read"

    def test_leave_nothing_behind_where_they_cannot_be_written(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path)
        (tmp_path / "out").write_text("a file")
        with pytest.raises(WriteError, match="cannot be written"):
            write_nifti(tmp_path / "out", series, unchanged(series))
        assert (tmp_path / "out").read_text() == "a file"

    def test_affine_is_that_of_the_source(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path)
        (path,) = write_nifti(tmp_path / "out", series, unchanged(series))
        expected = TO_LPS @ np.array(
            [[0.75, 0, 0, -5], [0, 0.5, 0, 7], [0, 0, 2.5, 3], [0, 0, 0, 1]]
        )
        np.testing.assert_allclose(nibabel.load(path).affine, expected, atol=1e-6)
