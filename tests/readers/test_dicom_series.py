"""DICOM series with every pitfall, written as real files: order, spacing, flags, refusals."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid as uids

from medvae.readers import Scan, open_studies
from medvae.records import Series
from phantoms import (
    dicom_slice,
    enhanced,
    indexed,
    outcomes,
    reasons,
    save,
    save_series,
    true_index,
)


def series_of(scan: Scan) -> list[Series]:
    return [series for study in scan.studies for series in study.series]


def only_series(scan: Scan) -> Series:
    (series,) = series_of(scan)
    return series


def order(series: Series) -> list[int]:
    return [true_index(item) for item in series.slices]


class TestOrder:
    @pytest.mark.parametrize("number", [lambda i: (i * 5) % 7, lambda i: 1, lambda i: None])
    def test_instance_number_does_not_matter(self, tmp_path: Path, number: Any) -> None:
        save_series(tmp_path, (dicom_slice(i, InstanceNumber=number(i)) for i in range(7)))
        series = only_series(open_studies([tmp_path]))
        assert order(series) == list(range(7))
        assert series.gap == 2.0
        assert series.flags == ()

    def test_runs_along_the_normal_of_an_oblique_series(self, tmp_path: Path) -> None:
        across, down = np.array([0.8, 0.6, 0.0]), np.array([0.0, 0.0, -1.0])
        normal = np.cross(across, down)
        save_series(
            tmp_path,
            (
                dicom_slice(
                    i,
                    ImageOrientationPatient=[*across, *down],
                    ImagePositionPatient=list(3.5 * i * normal),
                )
                for i in range(5)
            ),
        )
        series = only_series(open_studies([tmp_path]))
        assert order(series) == list(range(5))
        assert series.gap == pytest.approx(3.5)
        assert series.slices[0].geometry.spacing == (0.5, 0.75)
        assert series.slices[2].geometry.normal == pytest.approx(tuple(normal))

    def test_without_positions_follows_instance_number(self, tmp_path: Path) -> None:
        numbers = [4, 2, 9, 1]
        save_series(
            tmp_path,
            (
                dicom_slice(n, ImagePositionPatient=None, ImageOrientationPatient=None)
                for n in numbers
            ),
        )
        series = only_series(open_studies([tmp_path]))
        assert order(series) == sorted(numbers)
        assert series.gap is None

    def test_is_told_where_no_position_decides(self, tmp_path: Path) -> None:
        save_series(tmp_path, (dicom_slice(n, ImagePositionPatient=None) for n in range(3)))
        flags = only_series(open_studies([tmp_path])).flags
        assert flags == ("no positions: sorted by InstanceNumber and name",)

    @pytest.mark.parametrize("turn", [0.004, 0.009])
    def test_slices_that_are_turned_to_and_fro(self, tmp_path: Path, turn: float) -> None:
        save_series(
            tmp_path,
            (
                dicom_slice(
                    i,
                    ImageOrientationPatient=[np.cos(a), 0, np.sin(a), 0, 1, 0],
                    ImagePositionPatient=[-250, -250, i],
                )
                for i, a in enumerate(np.tile([-turn / 2, turn / 2], 4))
            ),
        )
        series = only_series(open_studies([tmp_path]))
        assert order(series) == list(range(8))
        assert series.flags == ()

    @pytest.mark.parametrize("step", [1, -1])
    def test_slices_that_turn_slowly_stay_together(self, tmp_path: Path, step: int) -> None:
        angles = np.linspace(0, 0.03, 8)
        slices = [
            dicom_slice(
                i,
                ImageOrientationPatient=[np.cos(a), 0, np.sin(a), 0, 1, 0],
                ImagePositionPatient=[0, 0, 3 * i],
            )
            for i, a in enumerate(angles)
        ]
        save_series(tmp_path, slices[::step])
        assert order(only_series(open_studies([tmp_path]))) == list(range(8))

    def test_noise_in_the_orientation_does_not_part_a_series(self, tmp_path: Path) -> None:
        noise = random.Random(1)
        save_series(
            tmp_path,
            (
                dicom_slice(i, ImageOrientationPatient=[1, noise.gauss(5e-4, 1e-6), 0, 0, 1, 0])
                for i in range(8)
            ),
        )
        assert order(only_series(open_studies([tmp_path]))) == list(range(8))


class TestDuplicates:
    def test_identical_copies_are_left_out(self, tmp_path: Path) -> None:
        slices = [dicom_slice(i) for i in range(6)]
        copy = dicom_slice(3, SOPInstanceUID="9.9.9", InstanceNumber=40)
        scan = open_studies([save_series(tmp_path, [*slices, copy])])
        series = only_series(scan)
        assert order(series) == list(range(6))
        assert series.gap == 2.0
        assert "duplicates: 1 left out" in series.flags
        assert set(outcomes(scan).values()) == {"read"}
        assert sum("same image as" in reason for reason in reasons(scan).values()) == 1

    def test_a_copied_file_is_left_out(self, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            save_series(tmp_path / folder, [dicom_slice(i) for i in range(3)])
        scan = open_studies([tmp_path])
        assert order(only_series(scan)) == [0, 1, 2]
        assert only_series(scan).flags == ("duplicates: 3 left out",)

    def test_a_different_slice_at_the_same_place_refuses_the_series(self, tmp_path: Path) -> None:
        slices = [dicom_slice(i) for i in range(6)]
        other = dicom_slice(77, ImagePositionPatient=[-5, 7, 6], InstanceNumber=7)
        save_series(tmp_path / "bad", [*slices, other])
        save_series(tmp_path / "good", [dicom_slice(i, series="1.2.3.5") for i in range(4)])
        scan = open_studies([tmp_path])
        assert order(only_series(scan)) == [0, 1, 2, 3]
        refused = [report for report in scan.files if report.outcome == "refused"]
        assert len(refused) == 7
        assert {report.reason for report in refused} == {
            "up to 2 different slices are at the same position, and neither time nor acquisition "
            "distinguishes them"
        }

    def test_one_name_at_different_places_refuses_the_series(self, tmp_path: Path) -> None:
        slices = [dicom_slice(i, pixels=indexed(0), SOPInstanceUID="1.2.7") for i in range(4)]
        scan = open_studies([save_series(tmp_path, slices)])
        assert scan.studies == ()
        assert all("different positions" in reason for reason in reasons(scan).values())

    def test_two_images_of_one_name_refuse_the_series(self, tmp_path: Path) -> None:
        twin = dicom_slice(1, pixels=indexed(50))
        scan = open_studies([save_series(tmp_path, [*(dicom_slice(i) for i in range(3)), twin])])
        assert scan.studies == ()
        assert all("same SOPInstanceUID and different pixels" in r for r in reasons(scan).values())


class TestGeometry:
    def test_missing_slices_are_counted(self, tmp_path: Path) -> None:
        save_series(tmp_path, (dicom_slice(i) for i in (0, 1, 2, 5, 6, 8, 9)))
        series = only_series(open_studies([tmp_path]))
        assert order(series) == [0, 1, 2, 5, 6, 8, 9]
        assert series.flags == ("gaps: 3 slices missing at 2 places",)
        assert series.slices[3].geometry.position == (-5.0, 7.0, 10.0)

    def test_uneven_gaps_are_told(self, tmp_path: Path) -> None:
        places = [0, 2, 4.6, 6, 8, 10]
        save_series(
            tmp_path,
            (dicom_slice(i, ImagePositionPatient=[0, 0, z]) for i, z in enumerate(places)),
        )
        series = only_series(open_studies([tmp_path]))
        assert series.flags == ("uneven: from 1.40 to 2.60 mm between slices",)

    def test_gantry_tilt_is_flagged_and_kept(self, tmp_path: Path) -> None:
        angle = np.radians(15)
        down = [0, np.cos(angle), -np.sin(angle)]
        save_series(
            tmp_path,
            (
                dicom_slice(
                    i,
                    sop_class=uids.CTImageStorage,
                    ImageOrientationPatient=[1, 0, 0, *down],
                    ImagePositionPatient=[0, 0, 4.0 * i],
                )
                for i in range(6)
            ),
        )
        series = only_series(open_studies([tmp_path]))
        assert order(series) == list(range(6))
        assert series.flags == ("tilt: slices are shifted by 15.0 degrees",)
        assert series.slices[5].geometry.position == (0, 0, 20)
        assert series.gap == pytest.approx(4 * np.cos(angle))


class TestGrouping:
    def test_a_localizer_is_a_series_of_its_own(self, tmp_path: Path) -> None:
        coronal = dicom_slice(
            90,
            ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
            ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        )
        save_series(tmp_path, [*(dicom_slice(i) for i in range(4)), coronal])
        found = {series.flags: order(series) for series in series_of(open_studies([tmp_path]))}
        assert found == {(): [0, 1, 2, 3], ("localizer",): [90]}

    @pytest.mark.parametrize(
        "other",
        [
            {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
            {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
            {"pixels": np.full((4, 4), 90, "uint16")},
        ],
    )
    def test_orientation_type_and_shape_part_a_series(
        self, tmp_path: Path, other: dict[str, Any]
    ) -> None:
        save_series(tmp_path, [*(dicom_slice(i) for i in range(4)), dicom_slice(90, **other)])
        found = sorted(order(series) for series in series_of(open_studies([tmp_path])))
        assert found == [[0, 1, 2, 3], [90]]

    def test_series_studies_and_patients_of_one_folder_are_told_apart(self, tmp_path: Path) -> None:
        datasets = []
        for patient in range(2):
            for series in range(2):
                for i in range(3):
                    uid = f"1.2.{patient + 1}.{series + 1}"
                    datasets.append(
                        dicom_slice(
                            i,
                            series=uid,
                            PatientID=f"patient {patient}",
                            StudyInstanceUID=f"1.2.{patient + 1}",
                        )
                    )
        scan = open_studies([save_series(tmp_path, datasets)])
        assert len(scan.studies) == 2
        assert len({study.group for study in scan.studies}) == 2
        assert [order(series) for series in series_of(scan)] == [[0, 1, 2]] * 4

    def test_files_without_a_patient_take_that_of_their_study(self, tmp_path: Path) -> None:
        slices = [dicom_slice(i, PatientID="" if i % 2 else "one") for i in range(4)]
        slices[2].IssuerOfPatientID = "hospital"
        scan = open_studies([save_series(tmp_path, slices)])
        assert len({study.group for study in scan.studies}) == 1
        assert order(only_series(scan)) == [0, 1, 2, 3]

    def test_patients_without_an_id_are_told_apart_by_study(self, tmp_path: Path) -> None:
        save(dicom_slice(0, PatientID=""), tmp_path / "a")
        scan = open_studies([tmp_path])
        assert [study.group_from for study in scan.studies] == ["StudyInstanceUID"]


class TestTime:
    @pytest.mark.parametrize(
        "attribute",
        ["TemporalPositionIdentifier", "AcquisitionNumber", "EchoTime", "TriggerTime"],
    )
    def test_time_points_become_series(self, tmp_path: Path, attribute: str) -> None:
        save_series(
            tmp_path,
            (
                dicom_slice(
                    10 * time + i,
                    ImagePositionPatient=[0, 0, 2 * i],
                    AcquisitionTime=f"1200{10 * time + i:02d}",
                    **{attribute: 10 * time + 10},
                )
                for time in range(3)
                for i in range(4)
            ),
        )
        series = series_of(open_studies([tmp_path]))
        assert [order(s) for s in series] == [[10 * t + i for i in range(4)] for t in range(3)]
        assert [s.flags for s in series] == [(f"time point {t} of 3",) for t in (1, 2, 3)]
        assert len({s.key for s in series}) == 3

    def test_echo_times_within_time_points(self, tmp_path: Path) -> None:
        save_series(
            tmp_path,
            (
                dicom_slice(
                    100 * time + 10 * echo + i,
                    ImagePositionPatient=[0, 0, 2 * i],
                    TemporalPositionIdentifier=time + 1,
                    EchoTime=5.0 + echo,
                )
                for time in range(2)
                for echo in range(2)
                for i in range(3)
            ),
        )
        found = sorted(order(series) for series in series_of(open_studies([tmp_path])))
        assert found == [[start + i for i in range(3)] for start in (0, 10, 100, 110)]

    def test_even_repeats_follow_instance_number(self, tmp_path: Path) -> None:
        save_series(
            tmp_path,
            (
                dicom_slice(10 * time + i, ImagePositionPatient=[0, 0, 2 * i])
                for time in range(3)
                for i in range(4)
            ),
        )
        series = series_of(open_studies([tmp_path]))
        assert [order(s) for s in series] == [[10 * t + i for i in range(4)] for t in range(3)]

    def test_repeats_within_time_points_have_keys_of_their_own(self, tmp_path: Path) -> None:
        save_series(
            tmp_path,
            (
                dicom_slice(
                    100 * b + 10 * turn + i,
                    ImagePositionPatient=[0, 0, 2 * i],
                    DiffusionBValue=500.0 * (b + 1),
                )
                for b in range(2)
                for turn in range(3)
                for i in range(4)
            ),
        )
        series = series_of(open_studies([tmp_path]))
        assert len(series) == 6
        assert len({s.key for s in series}) == 6

    def test_empty_slices_that_are_equal_at_all_times(self, tmp_path: Path) -> None:
        save_series(
            tmp_path,
            (
                dicom_slice(
                    10 * time + i,
                    pixels=indexed(0) * 0 if i == 3 else indexed(10 * time + i),
                    ImagePositionPatient=[0, 0, 2 * i],
                )
                for time in range(3)
                for i in range(4)
            ),
        )
        assert [len(s.slices) for s in series_of(open_studies([tmp_path]))] == [4, 4, 4]

    def test_an_incomplete_last_time_point_is_kept(self, tmp_path: Path) -> None:
        save_series(
            tmp_path,
            (
                dicom_slice(
                    10 * time + i,
                    ImagePositionPatient=[0, 0, 2 * i],
                    TemporalPositionIdentifier=time + 1,
                )
                for time in range(4)
                for i in range(1 if time == 3 else 5)
            ),
        )
        assert [len(s.slices) for s in series_of(open_studies([tmp_path]))] == [5, 5, 5, 1]


class TestEnhanced:
    def test_frames_go_to_their_places(self, tmp_path: Path) -> None:
        places = [3, 0, 2, 1]
        dataset = enhanced(
            [indexed(place) for place in places],
            (
                {
                    "PlanePositionSequence": {"ImagePositionPatient": [1, 2, 2.5 * place]},
                    "PixelValueTransformationSequence": {
                        "RescaleSlope": 1 + place,
                        "RescaleIntercept": -100,
                    },
                }
                for place in places
            ),
        )
        save(dataset, tmp_path / "enhanced")
        series = only_series(open_studies([tmp_path]))
        assert order(series) == [0, 1, 2, 3]
        assert series.gap == 2.5
        assert series.slices[3].geometry.position == (1, 2, 7.5)
        assert series.slices[0].geometry.spacing == (0.5, 0.75)
        pixels = series.slices[3].pixels()
        np.testing.assert_array_equal(pixels.values, indexed(3) * 4.0 - 100)

    def test_time_points_become_series(self, tmp_path: Path) -> None:
        frames = [(time, place) for place in range(3) for time in range(2)]
        dataset = enhanced(
            [indexed(10 * time + place) for time, place in frames],
            (
                {
                    "PlanePositionSequence": {"ImagePositionPatient": [0, 0, place]},
                    "FrameContentSequence": {
                        "TemporalPositionIndex": time + 1,
                        "DimensionIndexValues": [place + 1, time + 1],
                    },
                }
                for time, place in frames
            ),
        )
        save(dataset, tmp_path / "enhanced")
        found = [order(series) for series in series_of(open_studies([tmp_path]))]
        assert found == [[0, 1, 2], [10, 11, 12]]

    def test_stacks_become_series(self, tmp_path: Path) -> None:
        frames = [(stack, place) for place in range(3) for stack in range(2)]
        dataset = enhanced(
            [indexed(10 * stack + place) for stack, place in frames],
            (
                {
                    "PlanePositionSequence": {"ImagePositionPatient": [0, 0, 2 * place + stack]},
                    "FrameContentSequence": {"StackID": str(stack + 1)},
                }
                for stack, place in frames
            ),
        )
        save(dataset, tmp_path / "enhanced")
        found = sorted(order(series) for series in series_of(open_studies([tmp_path])))
        assert found == [[0, 1, 2], [10, 11, 12]]

    def test_files_of_one_series_are_series_of_their_own(self, tmp_path: Path) -> None:
        for number in range(2):
            places = [
                {"PlanePositionSequence": {"ImagePositionPatient": [0, 0, i]}} for i in (0, 1)
            ]
            frames = [indexed(10 * number + i) for i in (0, 1)]
            uid = f"1.2.3.{number}"
            save(enhanced(frames, places, SOPInstanceUID=uid), tmp_path / str(number))
        found = series_of(open_studies([tmp_path]))
        assert sorted(order(series) for series in found) == [[0, 1], [10, 11]]
        assert len({series.key for series in found}) == 2

    def test_fewer_groups_than_frames_are_refused(self, tmp_path: Path) -> None:
        save(enhanced([indexed(i) for i in range(3)], [{}]), tmp_path / "enhanced")
        assert reasons(open_studies([tmp_path])) == {
            "enhanced": "its header describes only 1 of its 3 frames"
        }


class TestKeys:
    def test_do_not_depend_on_folders_names_or_order(self, tmp_path: Path) -> None:
        datasets = [dicom_slice(i) for i in range(5)]
        first = open_studies([save_series(tmp_path / "one", datasets)])
        moved = tmp_path / "two" / "deep"
        for i, dataset in enumerate(reversed(datasets)):
            save(dataset, moved / str(i) / "image")
        second = open_studies([moved])
        assert [s.key for s in first.slices] == [s.key for s in second.slices]
        assert [s.key for s in series_of(first)] == [s.key for s in series_of(second)]
        assert [(s.key, s.group) for s in first.studies] == [
            (s.key, s.group) for s in second.studies
        ]

    def test_name_no_patient(self, tmp_path: Path) -> None:
        scan = open_studies([save_series(tmp_path, [dicom_slice(0)])])
        (study,) = scan.studies
        for name in (study.key, study.group, study.series[0].key, *(s.key for s in scan.slices)):
            assert len(name) == 20
            assert int(name, 16) >= 0

    def test_are_unique_where_two_series_share_a_name(self, tmp_path: Path) -> None:
        for series in ("1.2.5", "1.2.6"):
            for i in range(2):
                name = "1.2.7.1" if i == 0 else f"{series}.{i}"
                dataset = dicom_slice(i, series=series, SOPInstanceUID=name)
                save(dataset, tmp_path / "both" / f"{series} {i}")
        both = open_studies([tmp_path / "both"])
        assert len({item.key for item in both.slices}) == 4
        assert [series.flags for series in series_of(both)] == [
            ("an image in another series has the same SOPInstanceUID",)
        ] * 2
        # What shares its name with nobody has the key that it has alone.
        alone = open_studies([tmp_path / "both" / "1.2.5 1"])
        assert {item.key for item in alone.slices} < {item.key for item in both.slices}

    def test_are_unique_where_multi_frame_files_share_a_name(self, tmp_path: Path) -> None:
        groups = [{"PlanePositionSequence": {"ImagePositionPatient": [0, 0, i]}} for i in range(2)]
        for series in ("1.2.5", "1.2.6"):
            dataset = enhanced([indexed(i) for i in range(2)], groups, SeriesInstanceUID=series)
            save(dataset, tmp_path / series)
        scan = open_studies([tmp_path])
        assert len({item.key for item in scan.slices}) == 4
        assert len({series.key for series in series_of(scan)}) == 2
