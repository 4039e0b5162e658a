"""Pictures as MONAI loads them: the model must see what it was trained on, boxes must fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marked import AXIAL, FAR, body, box_of, bright, disc
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.io.dictionary import LoadImaged
from monai.transforms.utility.dictionary import EnsureChannelFirstd, SqueezeDimd
from numpy.typing import NDArray

from medvae.geometry import Box, Geometry
from medvae.intensity import Canvas, model_image, percentile
from medvae.readers import open_studies
from medvae.records import Series
from medvae.transforms import RandLatentNeighbor
from medvae.transforms._plane import Plane
from medvae.writers import NewPixels, Synthesis, write_series
from phantoms import dicom_slice, save_series

# MONAI complains of a reader that it has and cannot use.
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")

MADE = Synthesis(run="0123", model="4567", render="warp")

READERS = {"nifti": "NibabelReader", "dicom": "PydicomReader", "png": "PILReader"}

ORIENTATIONS = {
    "axial": [1, 0, 0, 0, 1, 0],
    "axial, both reversed": [-1, 0, 0, 0, -1, 0],
    "coronal": [1, 0, 0, 0, 0, -1],
    "coronal, feet first": [1, 0, 0, 0, 0, 1],
    "sagittal": [0, 1, 0, 0, 0, -1],
    "oblique": [0.96, 0.28, 0, -0.28, 0.96, 0],
}


def series_of(folder: Path, orientation: list[float]) -> Series:
    """Write a slice without any symmetry, and read it."""
    rows, columns = np.mgrid[:24, :20]
    pixels = (rows * 30 + columns * 7 + 200 * ((rows < 6) & (columns < 4))).astype(np.uint16)
    save_series(folder, [dicom_slice(pixels=pixels, ImageOrientationPatient=orientation)])
    ((series,),) = (study.series for study in open_studies([folder]).studies)
    return series


def loaded(series: Series, kind: str, folder: Path) -> torch.Tensor:
    """Write a series, and have MONAI load it."""
    pixels = [NewPixels.of(s.pixels(), s.pixels().values, MADE) for s in series.slices]
    (path,) = write_series(kind, folder, series, pixels, 1)
    steps: list[Any] = [LoadImaged("image", READERS[kind]), EnsureChannelFirstd("image")]
    if kind == "nifti":
        steps.append(SqueezeDimd("image", dim=-1, update_meta=False))
    image: torch.Tensor = Compose(steps)({"image": path})["image"]
    return image


def on_canvas(picture: torch.Tensor) -> NDArray[np.float32]:
    """Show a picture as the model sees it."""
    plane = Plane.of(picture)
    assert not plane.rows_first
    values = plane.turned(picture[0].numpy())
    unit = percentile(values).to_model(values)
    return Canvas.fit((24, 20), plane.geometry, 32).image(unit)


@pytest.mark.parametrize("kind", ["nifti", "dicom"])
@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_the_model_sees_what_it_was_trained_on(
    tmp_path: Path, kind: str, orientation: list[float]
) -> None:
    series = series_of(tmp_path / "source", orientation)
    native = series.slices[0]
    expected, _, _ = model_image(native, native.pixels(), 32)
    picture = loaded(series, kind, tmp_path / "written")
    np.testing.assert_allclose(on_canvas(picture), expected, atol=1e-6)
    assert Plane.of(picture).geometry.spacing == pytest.approx(native.geometry.spacing)


def test_a_picture_file_is_seen_as_it_is_stored(tmp_path: Path) -> None:
    series = series_of(tmp_path / "source", ORIENTATIONS["axial, both reversed"])
    native = replace(series.slices[0], geometry=Geometry())
    expected, _, _ = model_image(native, native.pixels(), 32)
    np.testing.assert_allclose(on_canvas(loaded(series, "png", tmp_path)), expected, atol=0.01)


@pytest.mark.parametrize(
    ("picture", "rows_first"),
    [
        (torch.zeros(1, 4, 5), True),
        (MetaTensor(torch.zeros(1, 4, 5)), True),
        (MetaTensor(torch.zeros(1, 4, 5), affine=AXIAL), False),
        (MetaTensor(torch.zeros(1, 4, 5), affine=AXIAL[:, [1, 0, 2, 3]]), True),
        # Of a coronal slice whose third axis was squeezed out of its affine.
        (MetaTensor(torch.zeros(1, 4, 5), affine=np.diag([-0.5, 0.0, 1.0])), False),
        (MetaTensor(torch.zeros(1, 4, 5), meta={"width": 4, "height": 5}), False),
    ],
)
def test_which_axis_counts_the_rows(picture: torch.Tensor, rows_first: bool) -> None:
    assert Plane.of(picture).rows_first is rows_first
    assert Plane.of(picture, not rows_first).rows_first is not rows_first


@pytest.mark.parametrize("reverse", [(), (1,), (2,), (1, 2)])
@pytest.mark.parametrize("turn", [False, True])
def test_a_neighbour_does_not_depend_on_how_the_picture_is_stored(
    run: Path, reverse: tuple[int, ...], turn: bool
) -> None:
    values = np.where(disc(), np.float32(2000), body())[None]
    transform = RandLatentNeighbor(run, strength=FAR, prob=1.0)

    def neighbour(values: NDArray[Any], affine: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        boxes = [np.array([box_of(bright(values))], dtype=np.float64)]
        picture = MetaTensor(values.copy(), affine=affine)
        found = transform.set_random_state(0).with_marks(picture, (), boxes)
        assert box_of(bright(found.image)).iou(Box(*found.boxes[0][0])) > 0.9
        return found.image.numpy(), found.boxes[0]

    expected, _ = neighbour(values, AXIAL)
    affine = AXIAL.copy()
    for axis in reverse:
        affine[:, axis - 1] *= -1
    stored = np.flip(values, reverse)
    if turn:
        stored, affine = stored.swapaxes(1, 2), affine[:, [1, 0, 2, 3]]
    found, _ = neighbour(stored, affine)
    if turn:
        found = found.swapaxes(1, 2)
    assert np.abs(np.flip(found, reverse) - expected).mean() < 1.0
