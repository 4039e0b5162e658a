"""Single DICOM files: which are read, what their pixels are, and why others are not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom import uid as uids
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag

from medvae.readers import open_studies
from medvae.records import Pixels, Slice
from phantoms import COLUMNS, ROWS, dicom_slice, indexed, outcomes, reasons, save


def read(dataset: Dataset, folder: Path) -> Slice:
    save(dataset, folder / "image")
    (item,) = open_studies([folder]).slices
    return item


def pixels_of(dataset: Dataset, folder: Path) -> Pixels:
    return read(dataset, folder).pixels()


def reason_of(dataset: Dataset, folder: Path, outcome: str) -> str:
    save(dataset, folder / "image")
    scan = open_studies([folder])
    assert outcomes(scan) == {"image": outcome}
    assert scan.studies == ()
    return reasons(scan)["image"]


class TestValues:
    @pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
    def test_rescale_is_applied(self, tmp_path: Path, dtype: str) -> None:
        stored = indexed(5, dtype)
        pixels = pixels_of(
            dicom_slice(pixels=stored, RescaleSlope="0.25", RescaleIntercept="-12.5"), tmp_path
        )
        assert pixels.stored.dtype == np.dtype(dtype)
        assert pixels.values.dtype == np.float32
        np.testing.assert_array_equal(pixels.stored, stored)
        np.testing.assert_array_equal(pixels.values, stored.astype(float) * 0.25 - 12.5)

    @pytest.mark.parametrize("signed", [0, 1])
    @pytest.mark.parametrize("bits", [12, 16])
    def test_stored_values_are_those_of_pydicom(
        self, tmp_path: Path, signed: int, bits: int
    ) -> None:
        stored = np.random.default_rng(0).integers(0, 2**16, (ROWS, COLUMNS), "u2")
        dataset = dicom_slice(pixels=stored, BitsStored=bits, HighBit=bits - 1)
        dataset.PixelRepresentation = signed
        expected = dcmread(save(dataset, tmp_path / "image")).pixel_array
        (item,) = open_studies([tmp_path]).slices
        np.testing.assert_array_equal(item.pixels().stored, expected)
        assert item.pixels().stored.dtype == expected.dtype

    def test_hounsfield_units(self, tmp_path: Path) -> None:
        stored = indexed(0)
        dataset = dicom_slice(
            pixels=stored,
            sop_class=uids.CTImageStorage,
            RescaleSlope=1,
            RescaleIntercept=-1024,
        )
        item = read(dataset, tmp_path)
        assert item.modality == "CT"
        np.testing.assert_array_equal(item.pixels().values, stored.astype(float) - 1024)

    def test_modality_table_is_applied(self, tmp_path: Path) -> None:
        table = Dataset()
        table.LUTDescriptor = [ROWS * COLUMNS, 0, 16]
        table.ModalityLUTType = "US"
        table.LUTData = [3 * i + 1 for i in range(ROWS * COLUMNS)]
        for keyword in ("LUTDescriptor", "LUTData"):
            table[keyword].VR = "US"
        pixels = pixels_of(dicom_slice(pixels=indexed(0), ModalityLUTSequence=[table]), tmp_path)
        np.testing.assert_array_equal(pixels.values, 3.0 * indexed(0) + 1)
        np.testing.assert_array_equal(pixels.stored, indexed(0))

    def test_monochrome1_is_not_inverted(self, tmp_path: Path) -> None:
        item = read(dicom_slice(7, PhotometricInterpretation="MONOCHROME1"), tmp_path)
        assert item.inverted
        np.testing.assert_array_equal(item.pixels().values, indexed(7))

    def test_big_endian_of_32_bits(self, tmp_path: Path) -> None:
        stored = indexed(0, "uint32") * 70000
        dataset = dicom_slice(pixels=stored)
        dataset.file_meta.TransferSyntaxUID = uids.ExplicitVRBigEndian
        dataset.PixelData = stored.astype(">u4").tobytes()
        dcmwrite(
            tmp_path / "image",
            dataset,
            enforce_file_format=True,
            little_endian=False,
            implicit_vr=False,
        )
        (item,) = open_studies([tmp_path]).slices
        np.testing.assert_array_equal(item.pixels().stored, stored)
        np.testing.assert_array_equal(item.pixels().values, stored.astype(np.float32))

    def test_window_is_kept(self, tmp_path: Path) -> None:
        item = read(dicom_slice(WindowCenter=[40, 300], WindowWidth=[400, 1500]), tmp_path)
        assert item.window == (40, 400)

    @pytest.mark.parametrize(
        "syntax", [uids.RLELossless, uids.JPEG2000Lossless, uids.JPEGLSLossless]
    )
    def test_compressed(self, tmp_path: Path, syntax: uids.UID) -> None:
        stored = np.arange(64 * 64, dtype="uint16").reshape(64, 64)
        dataset = dicom_slice(pixels=stored)
        dataset.compress(syntax, generate_instance_uid=False)
        np.testing.assert_array_equal(pixels_of(dataset, tmp_path).stored, stored)

    def test_deflated(self, tmp_path: Path) -> None:
        dataset = dicom_slice(9)
        dataset.file_meta.TransferSyntaxUID = uids.DeflatedExplicitVRLittleEndian
        np.testing.assert_array_equal(pixels_of(dataset, tmp_path).stored, indexed(9))


class TestLenience:
    """Files that break a rule which reading them does not need."""

    def test_implicit_elements_under_an_explicit_syntax(self, tmp_path: Path) -> None:
        parts = []
        for syntax in (uids.ExplicitVRLittleEndian, uids.ImplicitVRLittleEndian):
            dataset = dicom_slice(6)
            dataset.file_meta.TransferSyntaxUID = syntax
            data = save(dataset, tmp_path / "image").read_bytes()
            end = 144 + int.from_bytes(data[140:144], "little")
            parts.append((data[:end], data[end:]))
        (explicit_head, _), (_, implicit_body) = parts
        (tmp_path / "image").write_bytes(explicit_head + implicit_body)
        (item,) = open_studies([tmp_path]).slices
        np.testing.assert_array_equal(item.pixels().stored, indexed(6))

    def test_big_endian_without_preamble(self, tmp_path: Path) -> None:
        dataset = dicom_slice(pixels=indexed(0))
        dataset.PixelData = indexed(0).astype(">u2").tobytes()
        dataset.file_meta = FileMetaDataset()
        dcmwrite(
            tmp_path / "bare",
            dataset,
            enforce_file_format=False,
            implicit_vr=False,
            little_endian=False,
        )
        (item,) = open_studies([tmp_path]).slices
        np.testing.assert_array_equal(item.pixels().stored, indexed(0))

    def test_deflated_without_the_length_of_its_header(self, tmp_path: Path) -> None:
        dataset = dicom_slice(9)
        dataset.file_meta.TransferSyntaxUID = uids.DeflatedExplicitVRLittleEndian
        data = save(dataset, tmp_path / "image").read_bytes()
        (tmp_path / "image").write_bytes(data[:132] + data[144:])
        (item,) = open_studies([tmp_path]).slices
        np.testing.assert_array_equal(item.pixels().stored, indexed(9))

    @pytest.mark.filterwarnings("ignore:Invalid value for VR")
    def test_numbers_that_can_be_done_without(self, tmp_path: Path) -> None:
        dataset = dicom_slice(3)
        for keyword, text in (("WindowCenter", b"40,5"), ("SliceThickness", b"thin")):
            dataset.add(RawDataElement(Tag(keyword), "DS", len(text), text, 0, False, True))
        save(dataset, tmp_path / "image")
        (item,) = open_studies([tmp_path]).slices
        assert item.window is None
        assert item.geometry.thickness is None

    def test_frames_of_a_class_without_groups(self, tmp_path: Path) -> None:
        frames = np.stack([indexed(i) for i in range(4)])
        save(dicom_slice(pixels=frames, NumberOfFrames=4), tmp_path / "image")
        slices = list(open_studies([tmp_path]).slices)
        assert [int(item.pixels().stored[0, 0]) for item in slices] == [0, 1, 2, 3]


class TestPadding:
    @pytest.mark.parametrize(
        ("value", "limit", "dtype", "low", "high"),
        [
            (3, None, "uint16", 3, 3),
            (3, 6, "uint16", 3, 6),
            (6, 3, "uint16", 3, 6),
            (-4, None, "int16", -4, -4),
            (-4, 2, "int16", -4, 2),
        ],
    )
    def test_is_masked(
        self,
        tmp_path: Path,
        value: int,
        limit: int | None,
        dtype: str,
        low: int,
        high: int,
    ) -> None:
        stored = (indexed(0).astype(int) - 10 * (dtype == "int16")).astype(dtype)
        dataset = dicom_slice(
            pixels=stored, PixelPaddingValue=value, PixelPaddingRangeLimit=limit, RescaleSlope=2
        )
        pixels = pixels_of(dataset, tmp_path)
        assert pixels.padding is not None
        assert pixels.padding.any()
        np.testing.assert_array_equal(pixels.padding, (stored >= low) & (stored <= high))

    def test_there_is_none_where_the_file_names_none(self, tmp_path: Path) -> None:
        assert pixels_of(dicom_slice(), tmp_path).padding is None


class TestDoubts:
    """What may be right and may be not is read, and flagged."""

    def flags(self, dataset: Dataset, folder: Path) -> tuple[str, ...]:
        ((series,),) = (s.series for s in open_studies([save(dataset, folder / "a")]).studies)
        return series.flags

    def test_a_few_bytes_of_pixel_data_too_many(self, tmp_path: Path) -> None:
        dataset = dicom_slice(pixels=np.zeros((9, 5), "u1"))
        dataset.PixelData += bytes(1)  # the length of an element is even
        assert self.flags(dataset, tmp_path) == ()
        dataset.PixelData += bytes(4)
        assert self.flags(dataset, tmp_path) == (
            "5 bytes more pixel data than the header describes",
        )

    @pytest.mark.parametrize("missing", ["RescaleSlope", "RescaleIntercept"])
    def test_ct_without_rescale(self, tmp_path: Path, missing: str) -> None:
        whole = dicom_slice(sop_class=uids.CTImageStorage)
        assert self.flags(whole, tmp_path) == ()
        delattr(whole, missing)
        assert self.flags(whole, tmp_path) == (
            "CT without rescale slope and intercept: its values may not be HU",
        )

    def test_text_in_the_pixels(self, tmp_path: Path) -> None:
        assert self.flags(dicom_slice(BurnedInAnnotation="NO"), tmp_path) == ()
        assert self.flags(dicom_slice(BurnedInAnnotation="YES"), tmp_path) == (
            "text is burned into its pixels (BurnedInAnnotation YES)",
        )

    @pytest.mark.parametrize(
        ("attributes", "window", "thickness"),
        [
            ({}, (40.0, 400.0), 2.0),
            ({"WindowCenter": 1e9}, None, 2.0),
            ({"WindowWidth": 1e9}, None, 2.0),
            ({"WindowWidth": -5}, None, 2.0),
            ({"SliceThickness": 1e5}, (40.0, 400.0), None),
            ({"SliceThickness": 1e-9}, (40.0, 400.0), None),
        ],
    )
    def test_impossible_windows_and_thicknesses_are_dropped(
        self,
        tmp_path: Path,
        attributes: dict[str, float],
        window: tuple[float, float] | None,
        thickness: float | None,
    ) -> None:
        given = {"WindowCenter": 40, "WindowWidth": 400, **attributes}
        item = read(dicom_slice(**given), tmp_path)
        assert (item.window, item.geometry.thickness) == (window, thickness)


class TestNotRead:
    @pytest.mark.parametrize(
        ("sop_class", "name"),
        [
            (uids.ComprehensiveSRStorage, "Comprehensive SR Storage"),
            (uids.RTPlanStorage, "RT Plan Storage"),
            (uids.SegmentationStorage, "Segmentation Storage"),
            (uids.SecondaryCaptureImageStorage, "Secondary Capture Image Storage"),
            (uids.DigitalMammographyXRayImageStorageForPresentation, "Digital Mammography"),
        ],
    )
    def test_other_classes_are_skipped(self, tmp_path: Path, sop_class: str, name: str) -> None:
        reason = reason_of(dicom_slice(sop_class=sop_class), tmp_path, "skipped")
        assert reason.startswith(f"it is DICOM {name}")
        assert reason.endswith("not a CT, MR, CR or DX image")

    @pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "PALETTE COLOR"])
    def test_colour_is_refused(self, tmp_path: Path, photometric: str) -> None:
        dataset = dicom_slice(PhotometricInterpretation=photometric)
        assert reason_of(dataset, tmp_path, "refused") == (
            f"it is a colour image ({photometric}); only grayscale images are read"
        )

    def test_no_pixel_data(self, tmp_path: Path) -> None:
        dataset = dicom_slice()
        del dataset.PixelData
        assert reason_of(dataset, tmp_path, "refused") == "it contains no pixel data"

    def test_short_pixel_data(self, tmp_path: Path) -> None:
        dataset = dicom_slice(Rows=ROWS + 1)
        assert reason_of(dataset, tmp_path, "refused") == (
            "it is truncated: only 240 of 264 bytes of pixel data are present"
        )

    @pytest.mark.parametrize("syntax", [None, uids.RLELossless])
    def test_truncated_files(self, tmp_path: Path, syntax: uids.UID | None) -> None:
        dataset = dicom_slice(pixels=np.random.default_rng(0).integers(0, 2**16, (64, 64), "u2"))
        if syntax is not None:
            dataset.compress(syntax)
        whole = save(dataset, tmp_path / "whole").read_bytes()
        for cut in (6, 20, 3000):
            (tmp_path / f"cut {cut}").write_bytes(whole[:-cut])
        scan = open_studies([tmp_path])
        assert outcomes(scan) == {
            "whole": "read",
            "cut 6": "refused",
            "cut 20": "refused",
            "cut 3000": "refused",
        }
        assert all(
            reason.startswith("it is truncated") for reason in reasons(scan).values() if reason
        )

    def test_more_pixel_data_than_the_header_describes(self, tmp_path: Path) -> None:
        dataset = dicom_slice(pixels=np.zeros((9, 5), "u1"))
        dataset.PixelData = bytes(2 * 45)
        assert reason_of(dataset, tmp_path, "refused") == (
            "it holds 90 bytes of pixel data, but its header describes 45: its size, bits or "
            "number of frames is wrong"
        )

    def test_a_slope_of_zero(self, tmp_path: Path) -> None:
        reason = reason_of(dicom_slice(RescaleSlope=0), tmp_path, "refused")
        assert reason == "its RescaleSlope is 0, which would make all pixels equal"

    def test_a_transfer_syntax_without_decoder(self, tmp_path: Path) -> None:
        dataset = dicom_slice()
        dataset.compress(uids.RLELossless)
        dataset.file_meta.TransferSyntaxUID = uids.MPEG2MPML
        reason = reason_of(dataset, tmp_path, "refused")
        assert reason.startswith("no installed decoder reads its transfer syntax, MPEG2")


class TestSniffing:
    def test_suffixes_do_not_count(self, tmp_path: Path) -> None:
        for name in ("image", "image.txt", "image.png", "IM.0001"):
            save(dicom_slice(), tmp_path / name)
        assert set(outcomes(open_studies([tmp_path])).values()) == {"read"}

    @pytest.mark.parametrize("implicit", [True, False])
    def test_no_preamble(self, tmp_path: Path, implicit: bool) -> None:
        dataset = dicom_slice(6)
        dataset.file_meta = FileMetaDataset()
        dcmwrite(
            tmp_path / "bare",
            dataset,
            enforce_file_format=False,
            implicit_vr=implicit,
            little_endian=True,
        )
        assert (tmp_path / "bare").read_bytes()[:2] == b"\x08\0"
        (item,) = open_studies([tmp_path]).slices
        np.testing.assert_array_equal(item.pixels().stored, indexed(6))

    def test_what_is_no_image_is_skipped(self, tmp_path: Path) -> None:
        files = {
            "empty": (b"", "it is empty"),
            "zeros": (b"\0" * 4096, "it begins with zero bytes only"),
            "notes.txt": (b"the patient was moved", "its format is not one that medvae reads"),
            "fake.dcm": (b"\x89\x01 not DICOM", "its format is not one that medvae reads"),
            "a.zip": (b"PK\x03\x04" + b"x" * 300, "it is a zip archive; unpack it first"),
        }
        for name, (data, _) in files.items():
            (tmp_path / name).write_bytes(data)
        scan = open_studies([tmp_path])
        assert reasons(scan) == {name: reason for name, (_, reason) in files.items()}
        assert set(outcomes(scan).values()) == {"skipped"}

    def test_uids_of_the_file_header_stand_in(self, tmp_path: Path) -> None:
        dataset = dicom_slice(4)
        dataset.file_meta.MediaStorageSOPClassUID = uids.MRImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
        dataset.SOPClassUID = dataset.SOPInstanceUID = ""
        dcmwrite(tmp_path / "image", dataset)
        (item,) = open_studies([tmp_path]).slices
        assert item.source.uid == "1.2.3.4.5"


def test_random_bytes_behind_a_dicom_head(tmp_path: Path) -> None:
    for seed in range(20):
        data = np.random.default_rng(seed).integers(0, 256, 3000, dtype="u1").tobytes()
        (tmp_path / f"{seed}").write_bytes(b"\0" * 128 + b"DICM" + data)
        (tmp_path / f"{seed}.bare").write_bytes(b"\x08\0\x05\0CS\x0a\0ISO_IR 100" + data)
    scan = open_studies([tmp_path])
    assert scan.studies == ()
    assert len(scan.files) == 40
    assert all("\n" not in report.reason and report.reason for report in scan.files)
