"""PNG, JPEG and TIFF pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medvae.readers import open_studies
from medvae.records import pseudonym
from phantoms import outcomes, reasons


def gray(dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    top = {"uint8": 2**8, "uint16": 2**16, "int32": 2**31, "float32": 1000}[dtype]
    return np.random.default_rng(seed).integers(0, top, (9, 13)).astype(dtype)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("a.png", "uint8"),
        ("a.png", "uint16"),
        ("a.tiff", "uint8"),
        ("a.tiff", "uint16"),
        ("a.tiff", "int32"),
        ("a.tiff", "float32"),
    ],
)
def test_values_are_those_stored(tmp_path: Path, name: str, dtype: str) -> None:
    pixels = gray(dtype)
    Image.fromarray(pixels).save(tmp_path / name)
    (item,) = open_studies([tmp_path]).slices
    assert item.shape == (9, 13)
    assert item.modality is None
    np.testing.assert_array_equal(item.pixels().stored, pixels)
    np.testing.assert_array_equal(item.pixels().values, pixels.astype(np.float32))


def test_modality_is_taken_from_the_user(tmp_path: Path) -> None:
    Image.fromarray(gray()).save(tmp_path / "a.jpg")
    (item,) = open_studies([tmp_path], modality="MR").slices
    assert item.modality == "MR"


def test_gray_pictures_in_colour_modes_are_read(tmp_path: Path) -> None:
    picture = Image.fromarray(gray())
    for mode in ("RGB", "RGBA", "P", "LA"):
        picture.convert(mode).save(tmp_path / f"{mode}.png")
    scan = open_studies([tmp_path])
    assert set(outcomes(scan).values()) == {"read"}
    for item in scan.slices:
        np.testing.assert_array_equal(item.pixels().stored, gray())


def test_colour_is_refused(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (9, 13, 3), "u1")
    Image.fromarray(colours).save(tmp_path / "a.png")
    scan = open_studies([tmp_path])
    assert reasons(scan) == {"a.png": "it is in colour (RGB): only grayscale images are read"}


def test_pages_are_slices_in_order(tmp_path: Path) -> None:
    pages = [gray(seed=i) for i in range(3)]
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(tmp_path / "a.tiff", save_all=True, append_images=others)
    slices = list(open_studies([tmp_path]).slices)
    assert len(slices) == 3
    for item, page in zip(slices, pages, strict=True):
        np.testing.assert_array_equal(item.pixels().stored, page)


def test_a_folder_is_a_series_in_natural_order(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        for i in (10, 9, 1):
            Image.fromarray(gray(seed=i)).save(tmp_path / patient / f"{i}.png")
    scan = open_studies([tmp_path])
    assert {study.group for study in scan.studies} == {
        pseudonym("patient", "p1"),
        pseudonym("patient", "p2"),
    }
    assert {study.group_from for study in scan.studies} == {"parent folder"}
    for study in scan.studies:
        (series,) = study.series
        assert [item.source.path.name for item in series.slices] == ["1.png", "9.png", "10.png"]
    assert len({item.key for item in scan.slices}) == 6


def test_masks_beside_images_are_skipped(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder / "p1").mkdir(parents=True)
        Image.fromarray(gray()).save(tmp_path / folder / "p1" / "1.png")
    scan = open_studies([tmp_path])
    assert sorted(report.outcome for report in scan.files) == ["read", "skipped"]
    assert len(list(open_studies([tmp_path / "masks"]).slices)) == 1


def test_damaged_pictures_are_refused(tmp_path: Path) -> None:
    Image.fromarray(gray()).convert("RGB").save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:60])
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    scan = open_studies([tmp_path])
    assert set(outcomes(scan).values()) == {"refused"}
    assert all(str(tmp_path) not in reason for reason in reasons(scan).values())


def test_enormous_pictures_are_refused(tmp_path: Path) -> None:
    Image.new("1", (30000, 30000)).save(tmp_path / "a.png")
    assert "900000000" not in reasons(open_studies([tmp_path]))["a.png"]
    assert "30000x30000 pixels" in reasons(open_studies([tmp_path]))["a.png"]


def test_a_turned_picture_is_flagged(tmp_path: Path) -> None:
    picture = Image.fromarray(gray())
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    ((series,),) = (study.series for study in open_studies([tmp_path]).studies)
    assert series.flags == ("turned by an EXIF tag, which is not applied",)
