from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_studies import a_slice, a_study, all_labels, said, volume_slices

from medvae.labels import attach_labels
from medvae.records import Category, Labels, Mask, Slice

SHAPE = (7, 9, 5)
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 3.0, 10], [0, 0, 0, 1]])


def a_mask() -> np.ndarray:
    """Voxels with a mark that no flip or swap of the axes leaves where it is."""
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[1:4, 2:4, 1:4] = 1
    values[1, 6, 1:4] = 2
    return values


def saved(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, affine)
    nibabel.save(image, path)
    return path


def volume(path: Path, affine: np.ndarray = AFFINE) -> tuple[Slice, ...]:
    return volume_slices(path, SHAPE, affine, columns=0, rows=1)


def painted(labels: Labels, shape: tuple[int, int]) -> np.ndarray:
    values = np.zeros(shape, dtype=np.uint8)
    for finding in labels:
        assert finding.box == finding.mask.box
        values[finding.mask.on(shape)] = int(finding.category.name.removeprefix("label_"))
    return values


@pytest.mark.parametrize(("columns", "rows"), list(permutations(range(3), 2)))
@pytest.mark.parametrize("oblique", [False, True])
def test_masks_land_on_their_voxels_however_the_volume_is_sliced(
    tmp_path: Path, columns: int, rows: int, oblique: bool
) -> None:
    turn = np.eye(4)
    if oblique:
        turn[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
    affine = turn @ AFFINE
    mask = saved(tmp_path / "v_seg.nii.gz", a_mask(), affine)
    slices = volume_slices(tmp_path / "v.nii.gz", SHAPE, affine, columns, rows)
    labelled = attach_labels([a_study(*slices)], mask)
    assert labelled.problems == ()
    assert labelled.format == "NIfTI masks"
    through = 3 - columns - rows
    for index, labels in enumerate(all_labels(labelled)):
        plane = a_mask().take(index, axis=through)
        expected = plane if rows < columns else plane.T
        assert np.array_equal(painted(labels, slices[0].shape), expected)
    assert all_labels(labelled)[0] == Labels()


@pytest.mark.parametrize("flips", list(product((1, -1), repeat=3)))
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_masks_stored_in_another_order_of_the_axes(
    tmp_path: Path, flips: tuple[int, ...], order: tuple[int, ...]
) -> None:
    image = nibabel.Nifti1Image(a_mask(), AFFINE)
    orientation = np.array([[axis, flip] for axis, flip in zip(order, flips, strict=True)])
    mask = tmp_path / "labels.nii"
    nibabel.save(image.as_reoriented(orientation), mask)
    labelled = attach_labels([a_study(*volume(tmp_path / "v.nii"))], mask)
    assert labelled.problems == ()
    for index, labels in enumerate(all_labels(labelled)):
        assert np.array_equal(painted(labels, (9, 7)), a_mask()[:, :, index].T)


@pytest.mark.parametrize(
    ("mask", "images", "labelled_images"),
    [
        ("masks/v.nii.gz", ("images/v.nii.gz", "images/w.nii.gz"), {"v"}),
        ("v_seg.nii.gz", ("v.nii.gz", "w.nii.gz"), {"v"}),
        ("v_gt.nii", ("v.nii.gz", "v_t1.nii.gz"), {"v"}),
        ("v-label.nii", ("v_t1.nii.gz", "v_t2.nii.gz", "w.nii.gz"), {"v_t1", "v_t2"}),
        (
            "labelsTr/c_1.nii.gz",
            ("imagesTr/c_1_0000.nii.gz", "imagesTr/c_10_0000.nii.gz"),
            {"c_1_0000"},
        ),
        ("other.nii.gz", ("v.nii.gz",), {"v"}),
    ],
)
def test_masks_are_matched_by_name_else_by_grid(
    tmp_path: Path, mask: str, images: tuple[str, ...], labelled_images: set[str]
) -> None:
    path = saved(tmp_path / mask, a_mask())
    slices = [s for name in images for s in volume(tmp_path / name)]
    labelled = attach_labels([a_study(*slices)], path.parent if "/" in mask else path)
    assert labelled.problems == ()
    found = {
        slice_.source.path.name.partition(".")[0]
        for study in labelled.studies
        for slice_ in study.slices
        if slice_.labels is not None
    }
    assert found == labelled_images


def test_a_mask_over_a_dicom_series_by_its_grid(tmp_path: Path) -> None:
    mask = saved(tmp_path / "lesions.nii.gz", a_mask())
    dicom = [
        a_slice(
            tmp_path / f"{n}.dcm",
            s.shape,
            format="dicom",
            geometry=s.geometry,
            uid=f"1.{n}",
            series_uid="1.9",
        )
        for n, s in enumerate(volume(tmp_path / "v.nii"))
    ]
    labelled = attach_labels([a_study(*reversed(dicom))], mask)
    assert labelled.problems == ()
    assert [len(labels) for labels in all_labels(labelled)] == [0, 2, 2, 2, 0]


def test_a_folder_of_masks_beside_their_images(tmp_path: Path) -> None:
    for name in ("v", "w"):
        saved(tmp_path / f"{name}.nii.gz", a_mask() + 5)
        saved(tmp_path / f"{name}_seg.nii.gz", a_mask())
    studies = [a_study(*volume(tmp_path / f"{name}.nii.gz"), key=name) for name in ("v", "w")]
    labelled = attach_labels(studies, tmp_path)
    assert labelled.problems == ()
    assert [path.name for path in labelled.files] == ["v_seg.nii.gz", "w_seg.nii.gz"]
    assert [len(labels) for labels in all_labels(labelled)] == [0, 2, 2, 2, 0] * 2


def test_time_points_share_a_mask(tmp_path: Path) -> None:
    first = volume(tmp_path / "v.nii")
    second = (replace(s, source=replace(s.source, time=1)) for s in first)
    studies = [a_study(*first), a_study(*second)]
    labelled = attach_labels(studies, saved(tmp_path / "z.nii", a_mask()))
    assert [len(labels) for labels in all_labels(labelled)] == [0, 2, 2, 2, 0] * 2


def test_a_mask_that_may_be_of_several_series_is_not_used(tmp_path: Path) -> None:
    studies = [a_study(*volume(tmp_path / name), key=name) for name in ("v.nii", "w.nii")]
    labelled = attach_labels(studies, saved(tmp_path / "z.nii", a_mask()))
    assert said(labelled) == ["z.nii: no image has its name, and 2 images have its grid; ignored"]
    assert set(all_labels(labelled)) == {None}


def test_masks_that_may_be_of_one_series_are_not_used(tmp_path: Path) -> None:
    for name in ("y", "z"):
        saved(tmp_path / "masks" / f"{name}.nii", a_mask())
    labelled = attach_labels([a_study(*volume(tmp_path / "v.nii"))], tmp_path / "masks")
    what = "no image has its name, and 2 masks fit the image with its grid; ignored"
    assert said(labelled) == [f"y.nii: {what}", f"z.nii: {what}"]


@pytest.mark.parametrize("name", ["z_seg.nii", "v_seg.nii"])
def test_images_that_an_unplaced_mask_may_be_of_are_not_known_to_be_empty(
    tmp_path: Path, name: str
) -> None:
    folders = ("site1", "site2")
    studies = [a_study(*volume(tmp_path / f / "v_t1.nii"), key=f) for f in folders]
    saved(tmp_path / "masks" / name, a_mask())
    saved(tmp_path / "masks" / "site1" / "v_t1_seg.nii", a_mask() * 0)
    labelled = attach_labels(studies, tmp_path / "masks")
    assert len(labelled.problems) == 1
    assert set(all_labels(labelled)) == {None}


def test_images_of_the_same_name_in_two_folders_are_not_guessed(tmp_path: Path) -> None:
    studies = [
        a_study(*volume(tmp_path / name / "v_t1.nii"), key=name) for name in ("site1", "site2")
    ]
    labelled = attach_labels(studies, saved(tmp_path / "v_seg.nii", a_mask()))
    assert said(labelled) == ["v_seg.nii: images named 'v' lie in several folders; ignored"]


def moved(millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 3] += millimetres
    return affine


@pytest.mark.parametrize(
    ("values", "affine", "problem"),
    [
        (a_mask(), moved(0.75), "the slice lies 0.5 voxels away from the mask's grid; ignored"),
        (a_mask(), moved(0.3), "the slice lies 0.2 voxels away from the mask's grid; ignored"),
        (a_mask(), moved(3.0), "the slice extends beyond the mask's grid; ignored"),
        (a_mask(), AFFINE @ np.diag([0.5, 1, 1, 1]), "the slice's pixels are not voxels"),
        (np.pad(a_mask(), ((0, 1), (0, 0), (0, 0))), AFFINE, "its planes are larger than the"),
        (np.zeros((7, 9), np.uint8), AFFINE, "has the shape (7, 9), not that of one volume"),
        (np.zeros((*SHAPE, 2), np.uint8), AFFINE, "has the shape (7, 9, 5, 2), not that of one"),
        (np.full(SHAPE, np.nan, np.float32), AFFINE, "holds colours or values that are not finite"),
    ],
)
def test_a_mask_that_does_not_fit_is_said(
    tmp_path: Path, values: np.ndarray, affine: np.ndarray, problem: str
) -> None:
    mask = saved(tmp_path / "v_seg.nii", values, affine)
    labelled = attach_labels([a_study(*volume(tmp_path / "v.nii"))], mask)
    (found,) = said(labelled)
    assert found.startswith(f"v_seg.nii: {problem}")
    assert set(all_labels(labelled)) == {None}


def test_rounding_in_headers_is_no_shift(tmp_path: Path) -> None:
    mask = saved(tmp_path / "v_seg.nii", a_mask(), moved(0.05))
    labelled = attach_labels([a_study(*volume(tmp_path / "v.nii"))], mask)
    assert labelled.problems == ()
    (square,) = (f for f in all_labels(labelled)[1] if f.category == Category("label_1"))
    assert square.mask == Mask(2, 1, np.ones((2, 3), dtype=np.bool_))


@pytest.mark.parametrize("values", [a_mask() * 0.5, a_mask() * -1.0])
def test_values_that_are_no_labels_leave_the_slice_unknown(
    tmp_path: Path, values: np.ndarray
) -> None:
    mask = saved(tmp_path / "v_seg.nii", values.astype(np.float32))
    labelled = attach_labels([a_study(*volume(tmp_path / "v.nii"))], mask)
    assert said(labelled) == [
        f"v_seg.nii, slice {n} of v.nii: "
        "holds values that are not whole numbers from 0, so it is not a mask; ignored"
        for n in (1, 2, 3)
    ]
    assert all_labels(labelled) == [Labels(), None, None, None, Labels()]


def test_a_volume_without_a_place_in_the_patient_is_not_guessed(tmp_path: Path) -> None:
    slices = (a_slice(tmp_path / "v.nii", (9, 7), format="nifti", frame=n) for n in range(5))
    labelled = attach_labels([a_study(*slices)], saved(tmp_path / "v_seg.nii", a_mask()))
    assert said(labelled) == ["v_seg.nii: the slice's position in the patient is unknown; ignored"]


@pytest.mark.parametrize("content", [b"", b"none", b"\x1f\x8b\x08\x00broken"])
def test_a_broken_file_is_said(tmp_path: Path, content: bytes) -> None:
    mask = tmp_path / "v_seg.nii.gz"
    mask.write_bytes(content)
    labelled = attach_labels([a_study(*volume(tmp_path / "v.nii.gz"))], mask)
    (found,) = said(labelled)
    assert found.startswith("v_seg.nii.gz: cannot be ")


def test_a_truncated_file_is_said(tmp_path: Path) -> None:
    mask = saved(tmp_path / "v_seg.nii", a_mask())
    mask.write_bytes(mask.read_bytes()[:-20])
    labelled = attach_labels([a_study(*volume(tmp_path / "v.nii"))], mask)
    (found,) = said(labelled)
    assert found.startswith("v_seg.nii: cannot be decoded: ")
    assert set(all_labels(labelled)) == {None}


def test_a_flipped_bit_in_a_mask_is_told(tmp_path: Path) -> None:
    shape = (40, 40, 9)
    values = np.random.default_rng(0).integers(0, 2, shape, dtype=np.uint8)
    mask = saved(tmp_path / "v_seg.nii.gz", values)
    slices = volume_slices(tmp_path / "v.nii.gz", shape, AFFINE, columns=0, rows=1)
    whole = mask.read_bytes()
    for part in range(6):
        data = bytearray(whole)
        data[500 + (len(data) - 520) * part // 6] ^= 1 << part
        mask.write_bytes(data)
        labelled = attach_labels([a_study(*slices)], mask)
        (problem,) = labelled.problems
        assert problem.where == "v_seg.nii.gz"
        assert problem.what.startswith(("cannot be decoded: ", "cannot be read: "))


def test_a_mask_that_memory_cannot_hold_is_not_read(tmp_path: Path) -> None:
    mask = saved(tmp_path / "v_seg.nii", a_mask())
    header = nibabel.load(mask).header
    header.set_data_shape((30000, 30000, 30000))
    with mask.open("r+b") as file:
        file.write(header.binaryblock)
    labelled = attach_labels([a_study(*volume(tmp_path / "v.nii"))], mask)
    (problem,) = labelled.problems
    assert problem.what.startswith("has 27000000000000 voxels, of which ")
