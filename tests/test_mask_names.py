import pytest

from medvae.files import is_mask_folder, is_mask_name, without_mask_word


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("scan_seg.nii.gz", "scan"),
        ("scan-mask.nii", "scan"),
        ("scan.seg.nrrd", "scan"),
        ("scan_masks.png", "scan"),
        ("a.b_Label.bmp", "a.b"),
        ("scan_LABELS.mha", "scan"),
        ("scan_gt", "scan"),
        ("scan_segmentation.jp2", "scan"),
        ("scan_seg.img.gz", "scan"),
        ("1.2.840.1_seg.nii.gz", "1.2.840.1"),
    ],
)
def test_names_of_masks(name: str, rest: str) -> None:
    assert is_mask_name(name)
    assert without_mask_word(name) == rest


@pytest.mark.parametrize(
    "name",
    [
        "scan.nii.gz",
        "mask.png",
        "scanmask.png",
        "scan_mask_1.png",
        "scan_mask.p1.png",
        "scan_masked.png",
        "seg_scan.nii.gz",
    ],
)
def test_names_of_images(name: str) -> None:
    assert not is_mask_name(name)
    assert without_mask_word(name) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [("masks", True), ("labelsTr", True), ("Segmentations", True), ("images", False), ("", False)],
)
def test_folders_of_masks(name: str, expected: bool) -> None:
    assert is_mask_folder(name) is expected
