"""DICOM: the source's place, bits and units, new names, and words that say what an image is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom import uid as uids
from written import MADE, TO_LPS, only_series, shifted, unchanged, write_dicom

from medvae.errors import WriteError
from medvae.readers import open_studies
from medvae.records import Series
from medvae.writers import NewPixels, Synthesis
from phantoms import SHARED, dicom_slice, enhanced, save, save_series, world_of_pixels

OBLIQUE = ("0.8000", "+0.6", "0.0", "-0.36", ".48", "8e-1")
CT = {"sop_class": uids.CTImageStorage, "RescaleSlope": "1.0", "RescaleIntercept": "-1024"}


def ramp(dtype: str = "uint16", shape: tuple[int, int] = (10, 12)) -> NDArray[Any]:
    return np.arange(shape[0] * shape[1]).reshape(shape).astype(dtype)


def dicom_series(folder: Path, count: int = 3, **attributes: Any) -> Series:
    """Save a series that runs along its normal, 2.5 mm from slice to slice, and read it."""
    axes = attributes.setdefault("ImageOrientationPatient", [1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    normal = np.cross([*map(float, axes[:3])], [*map(float, axes[3:])])
    datasets = (
        dicom_slice(
            i, ImagePositionPatient=[*(np.array([-5.0, 7.0, 3.0]) + 2.5 * i * normal)], **attributes
        )
        for i in range(count)
    )
    return only_series(save_series(folder / "One^Patient", datasets))


def one(folder: Path, stored: NDArray[Any], **attributes: Any) -> Series:
    """Save one slice with these pixels, and read it."""
    return only_series(save(dicom_slice(pixels=stored, **attributes), folder / "in" / "a"))


def written(folder: Path, series: Series, pixels: Sequence[NewPixels] | None = None) -> Dataset:
    """Write a series, and read its first file."""
    files = write_dicom(folder / "out", series, pixels or unchanged(series))
    return dcmread(files[0])


def with_values(series: Series, values: Any, synthesis: Synthesis = MADE) -> list[NewPixels]:
    """Give the one slice of a series new values."""
    pixels = series.slices[0].pixels()
    return [NewPixels.of(pixels, np.asarray(values, np.float32), synthesis)]


class TestPlace:
    def test_is_the_very_text_of_the_source(self, tmp_path: Path) -> None:
        texts = {
            "ImagePositionPatient": ["-5.00", "+7", "1.5e1"],
            "ImageOrientationPatient": [*OBLIQUE],
            "PixelSpacing": ["0.50", "0.7500000000001"],
            "SliceThickness": "02.0",
        }
        series = one(tmp_path, ramp(), **texts)
        dataset = written(tmp_path, series)
        for keyword, expected in texts.items():
            found = dataset[keyword].value
            many = found if isinstance(expected, list) else [found]
            assert [str(v) for v in many] == ([expected] if many == [found] else expected)

    @pytest.mark.parametrize("options", [CT, {}], ids=["CT", "MR"])
    def test_in_itk(self, tmp_path: Path, options: dict[str, Any]) -> None:
        series = dicom_series(tmp_path, ImageOrientationPatient=[*OBLIQUE], **options)
        files = write_dicom(tmp_path / "out", series, unchanged(series))
        image = sitk.ReadImage([str(path) for path in files])
        assert image.GetSpacing() == pytest.approx((0.75, 0.5, 2.5), abs=1e-6)
        values = sitk.GetArrayFromImage(image)
        for place, item in enumerate(series.slices):
            np.testing.assert_array_equal(values[place], item.pixels().values)
            corner = image.TransformIndexToPhysicalPoint((11, 9, place))
            assert corner == pytest.approx(world_of_pixels(item)[9, 11], abs=1e-5)

    @pytest.mark.parametrize("options", [CT, {}], ids=["CT", "MR"])
    def test_in_highdicom(self, tmp_path: Path, options: dict[str, Any]) -> None:
        series = dicom_series(tmp_path, ImageOrientationPatient=[*OBLIQUE], **options)
        files = write_dicom(tmp_path / "out", series, unchanged(series))
        volume = highdicom.get_volume_from_series([dcmread(path) for path in files])
        back = np.linalg.inv(volume.affine)
        for item in series.slices:
            world = world_of_pixels(item).reshape(-1, 3)
            index = np.rint(world @ back[:3, :3].T + back[:3, 3]).astype(int)
            found = volume.array[tuple(index.T)].reshape(item.shape)
            np.testing.assert_array_equal(found, item.pixels().values)

    def test_when_read_again(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path, count=12)
        files = write_dicom(tmp_path / "out", series, unchanged(series))
        again = only_series(tmp_path / "out")
        assert (again.flags, again.modality) == (series.flags, series.modality)
        assert [item.source.path for item in again.slices] == files
        for item, source in zip(again.slices, series.slices, strict=True):
            assert item.geometry == source.geometry
            np.testing.assert_array_equal(item.pixels().stored, source.pixels().stored)

    def test_too_many_digits_are_rounded(self, tmp_path: Path) -> None:
        dataset = dicom_slice()
        path = save(dataset, tmp_path / "in" / "a")
        long, data = b"-145.447914055567\\7\\-30.188504244074 ", path.read_bytes()
        where = data.index(b"\x20\x00\x32\x00DS")
        (old,) = (data[where + 6 : where + 8],)
        end = where + 8 + int.from_bytes(old, "little")
        path.write_bytes(data[: where + 6] + len(long).to_bytes(2, "little") + long + data[end:])
        series = only_series(path)
        assert series.slices[0].geometry.position == (-145.447914055567, 7, -30.188504244074)
        found = written(tmp_path, series).ImagePositionPatient
        assert [str(v) for v in found] == ["-145.44791405557", "7", "-30.188504244074"]

    @pytest.mark.parametrize("missing", ["ImagePositionPatient", "PixelSpacing"])
    def test_unknown_is_refused(self, tmp_path: Path, missing: str) -> None:
        series = one(tmp_path, ramp(), **{missing: None})
        with pytest.raises(WriteError, match="which DICOM does not allow; choose nifti or png"):
            written(tmp_path, series)
        assert not (tmp_path / "out").exists()

    def test_of_a_radiograph_is_its_spacing(self, tmp_path: Path) -> None:
        series = one(
            tmp_path,
            ramp(),
            sop_class=uids.ComputedRadiographyImageStorage,
            Modality="CR",
            ImagerPixelSpacing=["0.20", "0.2"],
            PatientOrientation=["L", "F"],
            ViewPosition="PA",
            BodyPartExamined="CHEST",
        )
        dataset = written(tmp_path, series)
        assert [str(v) for v in dataset.ImagerPixelSpacing] == ["0.20", "0.2"]
        assert dataset.PatientOrientation == ["L", "F"]
        assert (dataset.ViewPosition, dataset.BodyPartExamined) == ("PA", "CHEST")
        assert "ImagePositionPatient" not in dataset


class TestPixels:
    @pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
    def test_unchanged_come_back_exactly(self, tmp_path: Path, dtype: str) -> None:
        limits = np.iinfo(dtype)
        stored = np.random.default_rng(0).integers(limits.min, limits.max, (9, 13), endpoint=True)
        series = one(tmp_path, stored.astype(dtype), RescaleSlope="0.1", RescaleIntercept="7")
        dataset = written(tmp_path, series)
        assert dataset.BitsAllocated == dataset.BitsStored == dataset.HighBit + 1 == limits.bits
        np.testing.assert_array_equal(dataset.pixel_array, stored)

    @pytest.mark.parametrize(
        "syntax",
        [
            uids.ImplicitVRLittleEndian,
            uids.DeflatedExplicitVRLittleEndian,
            uids.JPEG2000Lossless,
            uids.JPEGLSLossless,
            uids.RLELossless,
        ],
        ids=lambda syntax: syntax.keyword,
    )
    def test_of_any_transfer_syntax(self, tmp_path: Path, syntax: uids.UID) -> None:
        stored = ramp(shape=(50, 60))
        dataset = dicom_slice(pixels=stored, BitsStored=12, HighBit=11)
        if syntax.is_compressed and not syntax.is_deflated:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
        series = only_series(save(dataset, tmp_path / "in" / "a"))
        found = written(tmp_path, series)
        assert found.file_meta.TransferSyntaxUID == uids.ExplicitVRLittleEndian
        assert (found.BitsStored, found.HighBit) == (12, 11)
        np.testing.assert_array_equal(found.pixel_array, stored)

    def test_of_big_endian(self, tmp_path: Path) -> None:
        stored = ramp("int16") - 60
        dataset = dicom_slice(pixels=stored, PixelPaddingValue=-60)
        dataset.PixelData = stored.astype(">i2").tobytes()
        dataset.file_meta.TransferSyntaxUID = uids.ExplicitVRBigEndian
        series = only_series(save(dataset, tmp_path / "in" / "a"))
        found = written(tmp_path, series)
        assert found.PixelPaddingValue == -60
        np.testing.assert_array_equal(found.pixel_array, stored)

    def test_new_values_are_rounded_and_cut_to_the_stored_bits(self, tmp_path: Path) -> None:
        series = one(
            tmp_path,
            np.array([[0, 100, 4000], [2000, 5, 7]], "uint16"),
            BitsStored=12,
            HighBit=11,
            RescaleSlope="2",
            RescaleIntercept="-1024",
        )
        values = [[-1024, -822.7, 9000], [2976, -5000, -1011]]
        found = written(tmp_path, series, with_values(series, values))
        assert found.pixel_array.tolist() == [[0, 101, 4095], [2000, 0, 6]]

    def test_signed_ones_of_twelve_bits(self, tmp_path: Path) -> None:
        stored = np.array([[-2000, 0, 2000]], "int16")
        series = one(tmp_path, stored, BitsStored=12, HighBit=11)
        found = written(tmp_path, series, with_values(series, [[-2000, -9000, 9000]]))
        assert found.pixel_array.tolist() == [[-2000, -2048, 2047]]

    def test_units_stay_outside_the_change(self, tmp_path: Path) -> None:
        stored = np.random.default_rng(0).integers(0, 4096, (20, 30)).astype("uint16")
        series = one(tmp_path, stored, BitsStored=12, HighBit=11, **CT)
        hounsfield = series.slices[0].pixels().values.copy()
        hounsfield[5:9, 5:9] += 40.3
        found = sitk.GetArrayFromImage(
            sitk.ReadImage(str(write_dicom(tmp_path, series, with_values(series, hounsfield))[0]))
        )[0]
        changed = np.zeros(stored.shape, bool)
        changed[5:9, 5:9] = True
        np.testing.assert_array_equal(found[~changed], stored[~changed] - 1024.0)
        expected = np.rint(hounsfield[changed]).clip(-1024, 3071)
        np.testing.assert_array_equal(found[changed], expected)

    def test_of_a_flat_slice_follow_its_slope(self, tmp_path: Path) -> None:
        series = one(
            tmp_path, np.full((2, 2), 3, "uint16"), RescaleSlope="2.5", RescaleIntercept="1"
        )
        found = written(tmp_path, series, with_values(series, [[8.5, 11], [8.5, 18]]))
        assert found.pixel_array.tolist() == [[3, 4], [3, 7]]

    def test_low_is_still_shown_bright(self, tmp_path: Path) -> None:
        series = one(tmp_path, ramp(), PhotometricInterpretation="MONOCHROME1")
        found = written(tmp_path, series)
        assert found.PhotometricInterpretation == "MONOCHROME1"
        np.testing.assert_array_equal(found.pixel_array, ramp())

    def test_keep_how_they_are_shown(self, tmp_path: Path) -> None:
        series = one(
            tmp_path,
            ramp(),
            WindowCenter=["0040", "300"],
            WindowWidth=["400", "1500.0"],
            WindowCenterWidthExplanation=["One Patient", "Patient"],
            VOILUTFunction="SIGMOID",
            SmallestImagePixelValue=0,
            LargestImagePixelValue=119,
        )
        found = written(tmp_path, series)
        assert [str(v) for v in found.WindowCenter] == ["0040", "300"]
        assert [str(v) for v in found.WindowWidth] == ["400", "1500.0"]
        assert found.VOILUTFunction == "SIGMOID"
        for gone in ("Explanation", "Smallest", "Largest"):
            assert gone not in str(found)

    def test_of_float_have_no_place(self, tmp_path: Path) -> None:
        series = one(tmp_path, np.array([[0, 1, 2]], "uint8"))
        stored = series.slices[0].pixels().stored
        table = replace(series.slices[0].pixels(), values=np.float32([[0, 1, 4]]), stored=stored)
        new = [NewPixels.of(table, table.values, MADE)]
        with pytest.raises(WriteError, match="come from a table instead of a slope"):
            written(tmp_path, series, new)


class TestPadding:
    def test_stays_and_nothing_else_looks_like_it(self, tmp_path: Path) -> None:
        stored = np.array([[-2000, -2000, -1000], [50, 60, 70]], "int16")
        series = one(tmp_path, stored, PixelPaddingValue=-2000, **CT)
        values = np.float32([[5, -3024, -3024], [-974, -3024.4, -954]])
        found = written(tmp_path, series, with_values(series, values))
        assert found.PixelPaddingValue == -2000
        assert found.pixel_array.tolist() == [[-2000, -2000, -1999], [50, -1999, 70]]
        again = only_series(tmp_path / "out").slices[0].pixels()
        np.testing.assert_array_equal(again.padding, series.slices[0].pixels().padding)

    @pytest.mark.parametrize(
        ("value", "limit", "stored", "moved"),
        [
            (0, None, [0, 1, 9], [1, 1, 9]),
            (4095, None, [4095, 1, 9], [4094, 1, 9]),
            (10, 14, [10, 12, 14], [9, 15, 15]),
            (14, 10, [11, 13, 9], [9, 15, 9]),
            (0, 3, [0, 3, 4], [4, 4, 4]),
            (4000, 4095, [4095, 4090, 3999], [3999, 3999, 3999]),
        ],
    )
    def test_of_any_range(
        self, tmp_path: Path, value: int, limit: int | None, stored: list[int], moved: list[int]
    ) -> None:
        source = np.array([[500, 600, 700, value]], "uint16")
        series = one(
            tmp_path,
            source,
            BitsStored=12,
            HighBit=11,
            PixelPaddingValue=value,
            PixelPaddingRangeLimit=limit,
        )
        found = written(tmp_path, series, with_values(series, [[*stored, 77]]))
        assert found.pixel_array.tolist() == [[*moved, value]]
        assert found.get("PixelPaddingRangeLimit") == limit


class TestWords:
    def test_say_what_it_is(self, tmp_path: Path) -> None:
        series = one(tmp_path, ramp(), ImageType=["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"])
        made = Synthesis(
            run="r", model="beef", render="warp", copy=2, sampler="posterior", strength=0.5,
            seed="7/ab/2/1", preserves_locations=False, donors=("0123456789abcdef0123",),
        )  # fmt: skip
        values = series.slices[0].pixels().values
        found = written(tmp_path, series, with_values(series, values, made))
        assert found.SyntheticData == "YES"
        assert found.ImageType == ["DERIVED", "SECONDARY", "M", "NORM", "DIS2D"]
        assert found.SeriesDescription == "SYNTHETIC warp copy 2 - NOT FOR DIAGNOSTIC USE"
        for word in ("warp", "posterior", "0.5", "7/ab/2/1", "beef", "0123456789abcdef0123"):
            assert word in found.DerivationDescription
        assert found.PatientIdentityRemoved == "YES"
        assert found.DeidentificationMethod
        assert [c.CodeValue for c in found.DeidentificationMethodCodeSequence] == ["113100"]
        assert found.LongitudinalTemporalInformationModified == "REMOVED"
        assert found.QualityControlImage == "NO"
        (equipment,) = found.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
        assert equipment.SoftwareVersions
        assert equipment.ContributionDescription
        (source,) = found.SourceImageSequence
        assert source.ReferencedSOPClassUID == uids.MRImageStorage
        assert source.ReferencedSOPInstanceUID.startswith("2.25.")
        assert source.SpatialLocationsPreserved == "NO"
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert (found.PatientSex, found.StudyDate, found.AccessionNumber) == ("", "", "")

    def test_of_a_long_render_still_warn(self, tmp_path: Path) -> None:
        series = one(tmp_path, ramp())
        made = replace(MADE, render="transplant+" * 9)
        values = series.slices[0].pixels().values
        found = written(tmp_path, series, with_values(series, values, made))
        assert len(found.SeriesDescription) == 64
        assert found.SeriesDescription.endswith("NOT FOR DIAGNOSTIC USE")
        assert found.SourceImageSequence[0].SpatialLocationsPreserved == "YES"

    @pytest.mark.parametrize(
        ("sop_class", "source", "expected"),
        [
            (uids.MRImageStorage, ["ORIGINAL", "PRIMARY"], ["OTHER"]),
            (uids.MRImageStorage, ["ORIGINAL", "PRIMARY", "JOHN", "NORM"], ["OTHER", "NORM"]),
            (uids.CTImageStorage, ["ORIGINAL", "PRIMARY", "LOCALIZER"], ["LOCALIZER"]),
            (uids.CTImageStorage, ["DERIVED", "SECONDARY", "JOHN", "MPR"], ["AXIAL", "MPR"]),
            (uids.CTImageStorage, ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
             ["AXIAL", "CT_SOM5 SPI"]),
            (uids.ComputedRadiographyImageStorage, None, []),
        ],
    )  # fmt: skip
    def test_of_the_image_type(
        self, tmp_path: Path, sop_class: str, source: list[str] | None, expected: list[str]
    ) -> None:
        series = one(tmp_path, ramp(), sop_class=sop_class, ImageType=source)
        assert written(tmp_path, series).ImageType == ["DERIVED", "SECONDARY", *expected]

    def test_of_the_acquisition(self, tmp_path: Path) -> None:
        pulses = {
            "ScanningSequence": ["GR", "IR"],
            "SequenceVariant": ["SP", "MP"],
            "ScanOptions": ["JOHN", "PFP"],
            "MRAcquisitionType": "3D",
            "RepetitionTime": "1900.000000001",
            "EchoTime": "2.97",
            "EchoTrainLength": 1,
            "InversionTime": "1100",
            "PatientPosition": "HFS",
        }
        found = written(tmp_path, one(tmp_path, ramp(), **pulses))
        expected = {**pulses, "ScanOptions": "PFP", "RepetitionTime": "1900"}
        for keyword, value in expected.items():
            assert str(found[keyword].value) == str(value)

    def test_that_are_missing(self, tmp_path: Path) -> None:
        found = written(tmp_path, one(tmp_path, ramp()))
        assert (found.ScanningSequence, found.SequenceVariant) == ("RM", "NONE")
        assert (found.EchoTime, found.ScanOptions) == (None, "")

    @pytest.mark.parametrize(
        ("part", "side", "expected"),
        [
            ("KNEE", "L", "L"),
            ("KNEE", None, ""),
            ("KNEE", "X", ""),
            ("HEAD", "L", None),
            ("JOHN", "L", ""),
        ],
    )
    def test_of_the_side(
        self, tmp_path: Path, part: str, side: str | None, expected: str | None
    ) -> None:
        found = written(tmp_path, one(tmp_path, ramp(), BodyPartExamined=part, Laterality=side))
        assert found.get("Laterality") == expected
        assert found.get("BodyPartExamined") == (None if part == "JOHN" else part)

    @pytest.mark.parametrize(
        "given",
        [
            {"WindowCenter": "1e30"},
            {"WindowWidth": "1e30"},
            {"WindowWidth": "0"},
            {"SliceThickness": "1e30"},
            {"SliceThickness": "1e-30"},
        ],
    )
    def test_numbers_that_cannot_be_are_dropped(
        self, tmp_path: Path, given: dict[str, str]
    ) -> None:
        plausible = {"WindowCenter": "40", "WindowWidth": "400", "SliceThickness": "2"}
        found = written(tmp_path, one(tmp_path, ramp(), **{**plausible, **given}))
        window = {"WindowCenter", "WindowWidth"}
        gone = window if given.keys() <= window else {*given}
        assert {keyword for keyword in plausible if found.get(keyword) is None} == gone

    @pytest.mark.parametrize("said", [None, "NO"])
    def test_about_burned_in_text_are_the_source_s(self, tmp_path: Path, said: str | None) -> None:
        series = one(tmp_path, ramp(), BurnedInAnnotation=said, RecognizableVisualFeatures=said)
        found = written(tmp_path, series)
        assert found.get("BurnedInAnnotation") == found.get("RecognizableVisualFeatures") == said

    @pytest.mark.parametrize(
        ("source", "expected"), [({}, None), ({"LossyImageCompression": "00"}, "00")]
    )
    def test_about_compression(
        self, tmp_path: Path, source: dict[str, str], expected: str | None
    ) -> None:
        assert written(tmp_path, one(tmp_path, ramp(), **source)).get("LossyImageCompression") == (
            expected
        )

    def test_about_compression_with_loss_stay(self, tmp_path: Path) -> None:
        series = one(
            tmp_path,
            ramp(),
            LossyImageCompression="01",
            LossyImageCompressionRatio="12.5",
            LossyImageCompressionMethod="ISO_15444_1",
        )
        found = written(tmp_path, series)
        assert found.LossyImageCompression == "01"
        assert found.LossyImageCompressionRatio == 12.5
        assert found.LossyImageCompressionMethod == "ISO_15444_1"


class TestNames:
    def test_of_files_are_keys(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path, count=10)
        files = write_dicom(tmp_path / "out", series, unchanged(series))
        folder = tmp_path / "out" / series.key
        assert files == [folder / f"{i:02}_{s.key}.dcm" for i, s in enumerate(series.slices, 1)]
        assert sorted(folder.iterdir()) == files
        assert [dcmread(path).InstanceNumber for path in files] == [*range(1, 11)]

    def test_of_slices_that_are_written_one_by_one(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path)
        together = write_dicom(tmp_path / "1", series, unchanged(series))
        for i, new in enumerate(unchanged(series)):
            alone = replace(series, slices=series.slices[i : i + 1])
            (path,) = write_dicom(tmp_path / "2", alone, [new], place=i + 1)
            assert path.name == f"000{i + 1}_{series.slices[i].key}.dcm"
            assert path.read_bytes() == together[i].read_bytes()

    def test_files_are_the_same_bytes_each_time(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path)
        files = write_dicom(tmp_path / "1", series, shifted(series, 0.6))
        again = write_dicom(tmp_path / "2", series, shifted(series, 0.6))
        assert [p.read_bytes() for p in files] == [p.read_bytes() for p in again]

    def test_of_a_series_are_its_own(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path)
        source = [dcmread(item.source.path) for item in series.slices]
        files = write_dicom(tmp_path / "out", series, unchanged(series))
        found = [dcmread(path) for path in files]
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            (uid,) = {dataset[keyword].value for dataset in found}
            assert uid not in {dataset[keyword].value for dataset in source}
        assert len({dataset.SOPInstanceUID for dataset in found}) == len(files)
        for dataset in found:
            for uid in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                assert dataset[uid].value.is_valid
                assert dataset[uid].value.startswith("2.25.")
            assert dataset.PatientID == series.slices[0].group

    def test_change_with_copy_and_run(self, tmp_path: Path) -> None:
        series = one(tmp_path, ramp())
        values = series.slices[0].pixels().values

        def uids_of(made: Synthesis, secret: str = "") -> dict[str, str]:
            folder = tmp_path / made.run / f"{made.copy}{secret}"
            found = written(folder, series, with_values(series, values, made))
            names = ("Study", "Series", "SOP")
            named = {n: found[f"{n}InstanceUID"].value for n in names}
            return {
                **named,
                "Frame": found.FrameOfReferenceUID,
                "Source": found.SourceImageSequence[0].ReferencedSOPInstanceUID,
            }

        first = uids_of(MADE)
        copy, run = uids_of(replace(MADE, copy=2)), uids_of(replace(MADE, run="another"))
        same = {name for name in first if first[name] == copy[name]}
        assert same == {"Study", "Frame", "Source"}
        assert {name for name in first if first[name] == run[name]} == {"Source"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MEDVAE_SECRET", "secret")
            secret = uids_of(MADE, "secret")
        assert not {name for name in first if first[name] == secret[name]}

    def test_of_an_image_change_with_its_pixels(self, tmp_path: Path) -> None:
        series = one(tmp_path, ramp())
        first = written(tmp_path / "1", series)
        other = written(tmp_path / "2", series, shifted(series, 1))
        assert first.SOPInstanceUID != other.SOPInstanceUID
        assert first.SeriesInstanceUID == other.SeriesInstanceUID

    def test_of_frames_of_reference_follow_the_source(self, tmp_path: Path) -> None:
        frames = ("1.2.9", "1.2.9", "1.2.10", None)
        for i, frame in enumerate(frames):
            dataset = dicom_slice(i, series=f"1.2.{i + 20}", FrameOfReferenceUID=frame)
            save(dataset, tmp_path / "in" / str(i))
        found = {}
        for study in open_studies([tmp_path / "in"]).studies:
            for series in study.series:
                index = int(series.slices[0].pixels().stored[0, 0])
                found[index] = written(tmp_path, series).FrameOfReferenceUID
        assert found[0] == found[1]
        assert len(set(found.values())) == 3


class TestManyFrames:
    def groups(self, index: int) -> dict[str, dict[str, Any]]:
        return {
            "PlanePositionSequence": {"ImagePositionPatient": ["-5.0", "7", f"{index}.50"]},
            "PixelValueTransformationSequence": {
                "RescaleSlope": f"{index + 1}.0",
                "RescaleIntercept": "-3",
                "RescaleType": "US",
            },
            "FrameVOILUTSequence": {"WindowCenter": "40", "WindowWidth": "80"},
            "MREchoSequence": {"EffectiveEchoTime": 30.5},
        }

    def test_stand_alone(self, tmp_path: Path) -> None:
        frames = [ramp() + i for i in range(3)]
        dataset = enhanced(
            frames, map(self.groups, range(3)), EchoPulseSequence="GRADIENT", MRAcquisitionType="2D"
        )
        series = only_series(save(dataset, tmp_path / "in" / "a"))
        files = write_dicom(tmp_path / "out", series, unchanged(series))
        for i, path in enumerate(files):
            found = dcmread(path)
            assert found.SOPClassUID == uids.MRImageStorage
            assert "NumberOfFrames" not in found
            assert str(found.ImagePositionPatient[2]) == f"{i}.50"
            assert (found.RescaleSlope, found.RescaleIntercept) == (i + 1, -3)
            assert (found.WindowCenter, found.SliceThickness) == (40, 2)
            assert (found.EchoTime, found.ScanningSequence) == (30.5, "GR")
            (source,) = found.SourceImageSequence
            assert source.ReferencedSOPClassUID == uids.EnhancedMRImageStorage
            assert source.ReferencedFrameNumber == i + 1
            np.testing.assert_array_equal(found.pixel_array, frames[i])
        assert sitk.ReadImage([str(p) for p in files]).GetSpacing()[2] == pytest.approx(1)

    def test_without_places_are_refused(self, tmp_path: Path) -> None:
        dataset = dicom_slice(pixels=np.stack([ramp(), ramp() + 1]), NumberOfFrames=2)
        series = only_series(save(dataset, tmp_path / "in" / "a"))
        with pytest.raises(WriteError, match="which DICOM does not allow; choose nifti or png"):
            written(tmp_path, series)

    def test_time_points_are_series(self, tmp_path: Path) -> None:
        for time in range(2):
            for i in range(3):
                dataset = dicom_slice(
                    i, SOPInstanceUID=f"1.2.3.4.{time}.{i}", TemporalPositionIdentifier=time,
                    pixels=ramp() + 10 * time + i,
                )  # fmt: skip
                save(dataset, tmp_path / "in" / f"{time}{i}")
        (study,) = open_studies([tmp_path / "in"]).studies
        found = [written(tmp_path, series) for series in study.series]
        assert len({dataset.SeriesInstanceUID for dataset in found}) == 2
        assert len({dataset.StudyInstanceUID for dataset in found}) == 1


class TestRefusals:
    def test_of_text_in_the_pixels(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path, BurnedInAnnotation="YES")
        with pytest.raises(WriteError, match="text burned into the pixels") as caught:
            write_dicom(tmp_path / "out", series, unchanged(series))
        assert "Patient" not in str(caught.value)
        assert series.slices[0].key in str(caught.value)
        assert not (tmp_path / "out").exists()

    def test_of_text_in_the_pixels_can_be_overruled(self, tmp_path: Path) -> None:
        series = one(tmp_path, ramp(), BurnedInAnnotation="YES")
        about = replace(MADE, allow_burned_in=True)
        found = written(tmp_path, series, with_values(series, ramp("float32"), about))
        assert found.BurnedInAnnotation == "YES"

    def test_of_a_table(self, tmp_path: Path) -> None:
        table = Dataset()
        table.LUTDescriptor = [120, 0, 16]
        table.ModalityLUTType = "US"
        table.add_new("LUTData", "OW", np.arange(0, 240, 2).astype("<u2").tobytes())
        series = one(
            tmp_path,
            ramp(),
            sop_class=uids.ComputedRadiographyImageStorage,
            ModalityLUTSequence=[table],
        )
        with pytest.raises(WriteError, match="come from a table instead of a slope"):
            written(tmp_path, series)

    def test_of_other_formats(self, tmp_path: Path) -> None:
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), "int16"), TO_LPS), tmp_path / "a.nii")
        series = only_series(tmp_path / "a.nii")
        with pytest.raises(WriteError, match="DICOM output requires DICOM input") as caught:
            write_dicom(tmp_path / "out", series, unchanged(series))
        assert str(tmp_path) not in str(caught.value)

    def test_of_a_source_that_is_gone(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path)
        pixels = unchanged(series)
        series.slices[1].source.path.unlink()
        with pytest.raises(WriteError, match="can no longer be read") as caught:
            write_dicom(tmp_path / "out", series, pixels)
        assert "Patient" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    def test_of_a_folder_that_is_a_file(self, tmp_path: Path) -> None:
        series = dicom_series(tmp_path)
        (tmp_path / "out").write_text("a file")
        with pytest.raises(WriteError, match="cannot be written"):
            write_dicom(tmp_path / "out", series, unchanged(series))


def complaints(program: str, *files: Path) -> list[str]:
    """Return the errors that a checker of dicom3tools finds, but for the tag that it is too old
    to know."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program} of dicom3tools")
    done = subprocess.run([program, *files], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if "Error" in line and "(0x0008,0x001c)" not in line]


class TestStandard:
    @pytest.mark.parametrize(
        "attributes",
        [
            CT,
            {**CT, "BodyPartExamined": "KNEE", "ImageType": None, "PixelPaddingValue": 7},
            {},
            {"ScanningSequence": "EP", "RescaleSlope": "2", "BodyPartExamined": "JOHN"},
        ],
        ids=["CT", "CT knee", "MR", "MR EPI"],
    )
    def test_of_a_series(self, tmp_path: Path, attributes: dict[str, Any]) -> None:
        series = dicom_series(tmp_path, BitsStored=12, HighBit=11, **attributes)
        files = write_dicom(tmp_path / "out", series, shifted(series, 3))
        for path in files:
            assert complaints("dciodvfy", path) == []
        assert complaints("dcentvfy", *files) == []

    @pytest.mark.parametrize(
        "attributes",
        [
            {"sop_class": uids.ComputedRadiographyImageStorage, "Modality": "CR"},
            {
                "sop_class": uids.DigitalXRayImageStorageForPresentation,
                "Modality": "DX",
                "ImagerPixelSpacing": ["0.2", "0.2"],
                "PatientOrientation": ["L", "F"],
                "ImageLaterality": "U",
                "BodyPartExamined": "CHEST",
                "ViewPosition": "PA",
                "PixelIntensityRelationship": "LIN",
                "PixelIntensityRelationshipSign": -1,
                "PresentationLUTShape": "IDENTITY",
                "DetectorType": "DIRECT",
                "LossyImageCompression": "00",
                "BurnedInAnnotation": "NO",
                "WindowCenter": 40,
                "WindowWidth": 80,
            },
        ],
        ids=["CR", "DX"],
    )
    def test_of_a_radiograph(self, tmp_path: Path, attributes: dict[str, Any]) -> None:
        series = one(tmp_path, ramp(), **attributes)
        (path,) = write_dicom(tmp_path / "out", series, unchanged(series))
        assert complaints("dciodvfy", path) == []


def real_studies() -> Iterator[Path]:
    for folder in (SHARED / "dicom", SHARED / "odd_dicom"):
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if path.is_dir())


@pytest.mark.slow
@pytest.mark.parametrize("folder", [*real_studies()], ids=lambda path: path.name)
def test_real_slices_come_back_exactly(folder: Path, tmp_path: Path) -> None:
    every = [series for study in open_studies([folder]).studies for series in study.series]
    refused = []
    for series in every:
        sources = [native.pixels() for native in series.slices]
        try:
            pixels = [NewPixels.of(source, source.values, MADE) for source in sources]
            files = write_dicom(tmp_path, series, pixels)
        except WriteError as error:
            refused.append(str(error))
            continue
        for path, native, source in zip(files, series.slices, sources, strict=True):
            np.testing.assert_array_equal(dcmread(path).pixel_array, source.stored)
            (again,) = open_studies([path]).slices
            np.testing.assert_array_equal(again.pixels().values, source.values)
            assert again.geometry.position == pytest.approx(native.geometry.position, abs=1e-9)
            assert again.geometry.along_row == pytest.approx(native.geometry.along_row, abs=1e-9)
            assert again.geometry.spacing == pytest.approx(native.geometry.spacing, abs=1e-9)
        if series.modality in ("CT", "MR"):
            assert complaints("dciodvfy", files[0]) == []
    assert len(refused) == (1 if folder.name == "fo-dicom" else 0), refused
    assert complaints("dcentvfy", *tmp_path.rglob("*.dcm")) == []
