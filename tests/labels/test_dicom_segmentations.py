from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.sr import CodedConcept
from made_studies import a_slice, a_study, all_labels, masked, said
from pydicom import uid as uids
from pydicom.dataset import FileMetaDataset

from medvae.geometry import Geometry
from medvae.labels import attach_labels, label_format
from medvae.records import Category, Labels, Slice, Study

ROWS, COLUMNS, SLICES = 9, 12, 4
SERIES = "1.2.826.0.1.9"


def ct(folder: Path) -> list[Path]:
    paths = []
    for n in range(SLICES):
        dataset = pydicom.Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
        values: dict[str, Any] = {
            "SOPClassUID": uids.CTImageStorage,
            "SOPInstanceUID": f"{SERIES}.{n + 1}",
            "StudyInstanceUID": "1.2.826.0.1.8",
            "SeriesInstanceUID": SERIES,
            "FrameOfReferenceUID": "1.2.826.0.1.7",
            "PatientID": "1",
            "PatientName": "One^Patient",
            "PatientBirthDate": "",
            "PatientSex": "",
            "StudyID": "",
            "StudyDate": "",
            "StudyTime": "",
            "AccessionNumber": "",
            "ReferringPhysicianName": "",
            "Manufacturer": "",
            "Modality": "CT",
            "InstanceNumber": n + 1,
            "ImagePositionPatient": [-5.0, 7.0, 2.0 * n],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [0.5, 0.75],
            "SliceThickness": 2.0,
            "Rows": ROWS,
            "Columns": COLUMNS,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "PixelRepresentation": 0,
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelData": bytes(2 * ROWS * COLUMNS),
        }
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset["PixelData"].VR = "OW"
        paths.append(folder / f"{n}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def opened(paths: list[Path]) -> Study:
    def slice_of(path: Path) -> Slice:
        dataset = pydicom.dcmread(path)
        orientation = tuple(map(float, dataset.ImageOrientationPatient))
        geometry = Geometry(
            tuple(map(float, dataset.PixelSpacing)),
            tuple(map(float, dataset.ImagePositionPatient)),
            orientation[:3],
            orientation[3:],
            2.0,
        )
        return a_slice(
            path,
            (dataset.Rows, dataset.Columns),
            format="dicom",
            uid=dataset.SOPInstanceUID,
            series_uid=dataset.SeriesInstanceUID,
            geometry=geometry,
        )

    return a_study(*map(slice_of, paths))


def pixels() -> np.ndarray:
    """Two segments, ``[slices, rows, columns, segments]``, that overlap; the last slice empty."""
    values = np.zeros((SLICES, ROWS, COLUMNS, 2), dtype=np.uint8)
    values[0, 1:4, 2:9, 0] = 1
    values[1, 2:5, 2:9, 0] = 1
    values[1, 3:7, 6:11, 1] = 1
    values[2, 8, 0, 1] = 1
    return values


def expected(values: np.ndarray) -> list[Labels]:
    names = (Category("liver"), Category("tumour"))
    return [
        Labels(
            tuple(
                masked(values[n, ..., segment], names[segment])
                for segment in range(2)
                if values[n, ..., segment].any()
            )
        )
        for n in range(SLICES)
    ]


def segmentation(paths: list[Path], values: np.ndarray, kind: str = "BINARY") -> Any:
    organ = CodedConcept("85756007", "SCT", "Tissue")
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=organ,
            segmented_property_type=organ,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(("liver", "tumour"), start=1)
    ]
    return highdicom.seg.Segmentation(
        source_images=[pydicom.dcmread(path) for path in paths],
        pixel_array=values,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid="1.2.826.0.1.6",
        series_number=2,
        sop_instance_uid="1.2.826.0.1.5",
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
    )


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    (tmp_path / "ct").mkdir()
    return ct(tmp_path / "ct")


@pytest.fixture
def seg(tmp_path: Path, series: list[Path]) -> Path:
    segmentation(series, pixels()).save_as(tmp_path / "seg.dcm")
    return tmp_path / "seg.dcm"


def changed(path: Path, change: Any) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def without_sources(dataset: pydicom.Dataset) -> None:
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence


def test_overlapping_segments_land_on_their_slices(series: list[Path], seg: Path) -> None:
    labelled = attach_labels([opened(series[::-1])], seg)
    assert labelled.problems == ()
    assert (labelled.format, labelled.files) == ("DICOM SEG", (seg,))
    assert all_labels(labelled)[::-1] == expected(pixels())
    assert label_format(seg) == "DICOM SEG"
    assert label_format(series[0]) is None


@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_fractions_from_a_half_and_label_maps(
    tmp_path: Path, series: list[Path], kind: str
) -> None:
    values = pixels()
    values[1, 3:7, 6:9, 1] = 0
    if kind == "LABELMAP":
        given: np.ndarray = values[..., 0] + 2 * values[..., 1]
    else:
        given = np.where(values > 0, 0.6, 0.4).astype(np.float32)
    segmentation(series, given, kind).save_as(tmp_path / "seg.dcm")
    labelled = attach_labels([opened(series)], tmp_path / "seg.dcm")
    assert labelled.problems == ()
    assert all_labels(labelled) == expected(values)


def test_frames_without_sources_go_by_their_place_in_the_series(
    series: list[Path], seg: Path
) -> None:
    labelled = attach_labels([opened(series)], changed(seg, without_sources))
    assert labelled.problems == ()
    assert all_labels(labelled) == expected(pixels())


def test_frames_stored_in_another_order_are_turned(series: list[Path], seg: Path) -> None:
    def turn(dataset: pydicom.Dataset) -> None:
        frames = dataset.pixel_array[:, :, ::-1]
        dataset.PixelData = pydicom.pixels.pack_bits(np.ascontiguousarray(frames))
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            frame.PlanePositionSequence[0].ImagePositionPatient[0] += 0.75 * (COLUMNS - 1)

    labelled = attach_labels([opened(series)], changed(seg, turn))
    assert labelled.problems == ()
    assert all_labels(labelled) == expected(pixels())


def test_frames_of_a_multi_frame_image(series: list[Path], seg: Path) -> None:
    def refer(dataset: pydicom.Dataset) -> None:
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            source = frame.DerivationImageSequence[0].SourceImageSequence[0]
            source.ReferencedFrameNumber = int(source.ReferencedSOPInstanceUID.split(".")[-1])
            source.ReferencedSOPInstanceUID = f"{SERIES}.1"

    slices = (
        a_slice(series[0], s.shape, format="dicom", frame=n, uid=f"{SERIES}.1", geometry=s.geometry)
        for n, s in enumerate(opened(series).slices)
    )
    labelled = attach_labels([a_study(*slices)], changed(seg, refer))
    assert labelled.problems == ()
    assert all_labels(labelled) == expected(pixels())


def test_a_folder_of_segmentations_is_one_set_of_labels(series: list[Path], seg: Path) -> None:
    seg.with_name("second").write_bytes(seg.read_bytes())
    labelled = attach_labels([opened(series)], seg.parent)
    assert [len(labels) for labels in all_labels(labelled)] == [2, 4, 2, 0]
    assert [path.name for path in labelled.files] == ["second", "seg.dcm"]


def test_frames_of_images_that_are_not_there_are_said(series: list[Path], seg: Path) -> None:
    labelled = attach_labels([opened(series[1:])], seg)
    assert said(labelled) == ["seg.dcm, frame 2: its source image is not among the slices; ignored"]
    assert all_labels(labelled) == expected(pixels())[1:]


def moved(dataset: pydicom.Dataset) -> None:
    # The one frame of the first slice.
    frame = dataset.PerFrameFunctionalGroupsSequence[1]
    frame.PlanePositionSequence[0].ImagePositionPatient[0] += 0.3


def moved_without_sources(dataset: pydicom.Dataset) -> None:
    without_sources(dataset)
    moved(dataset)


def undescribed(dataset: pydicom.Dataset) -> None:
    dataset.SegmentSequence[0].SegmentNumber = 7


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (moved, "the slice lies 0.4 voxels away from the mask's grid; ignored"),
        (moved_without_sources, "0 slices of its series lie at its position; ignored"),
        (undescribed, "its segment 1 is not in SegmentSequence; ignored"),
    ],
)
def test_a_frame_that_cannot_be_used_makes_no_negative(
    series: list[Path], seg: Path, change: Any, problem: str
) -> None:
    labelled = attach_labels([opened(series)], changed(seg, change))
    assert f"seg.dcm, frame 2: {problem}" in said(labelled)
    assert all_labels(labelled)[0] is None


def test_a_frame_of_a_multi_frame_image_leaves_no_frame_known_to_be_empty(
    series: list[Path], seg: Path
) -> None:
    first, second, *rest = opened(series).slices
    second = replace(second, source=replace(first.source, frame=1))
    labelled = attach_labels([a_study(first, second, *rest)], changed(seg, moved))
    what = "0 slices of its series lie at its position; ignored"
    assert f"seg.dcm, frame 2: {what}" in said(labelled)
    assert all_labels(labelled)[:2] == [None, None]


def unsaid(dataset: pydicom.Dataset) -> None:
    del dataset.SegmentSequence


def huge(dataset: pydicom.Dataset) -> None:
    dataset.Rows = dataset.Columns = 65535


def deflated(dataset: pydicom.Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = uids.DeflatedExplicitVRLittleEndian


def cut(dataset: pydicom.Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:20]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (unsaid, "cannot be read: "),
        (huge, "has 4 frames, which is too many; ignored"),
        (deflated, "is deflated, so its size is not known in advance; ignored"),
        (cut, "cannot be read: "),
    ],
)
def test_a_segmentation_that_cannot_be_used_is_said(
    series: list[Path], seg: Path, change: Any, problem: str
) -> None:
    labelled = attach_labels([opened(series)], changed(seg, change))
    (found,) = said(labelled)
    assert found.startswith(f"seg.dcm: {problem}")
    assert set(all_labels(labelled)) == {None}


def test_a_truncated_segmentation_is_said(series: list[Path], seg: Path) -> None:
    seg.write_bytes(seg.read_bytes()[:-300])
    labelled = attach_labels([opened(series)], seg)
    assert said(labelled)[0].startswith("seg.dcm: cannot be read: ")
    assert None in all_labels(labelled)
